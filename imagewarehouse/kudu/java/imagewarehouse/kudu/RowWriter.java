package imagewarehouse.kudu;

import com.stumbleupon.async.Deferred;
import com.stumbleupon.async.TimeoutException;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.sql.Date;
import java.time.LocalDate;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Locale;
import org.apache.kudu.ColumnSchema;
import org.apache.kudu.Type;
import org.apache.kudu.client.AsyncKuduClient;
import org.apache.kudu.client.AsyncKuduSession;
import org.apache.kudu.client.KuduException;
import org.apache.kudu.client.KuduTable;
import org.apache.kudu.client.Operation;
import org.apache.kudu.client.OperationResponse;
import org.apache.kudu.client.PartialRow;
import org.apache.kudu.client.SessionConfiguration;
import org.apache.kudu.client.Status;

/**
 * Writes rows that come column by column, in Arrow's memory layout, and says which of them failed.
 *
 * One call takes a whole batch: a call for each cell costs half a microsecond on the way from Python, and filling the
 * rows here is what makes the client three times as fast. Not thread-safe; each writer is one caller's.
 */
public final class RowWriter implements AutoCloseable {
  /** Positions in `layout`, six numbers a column; -1: there is no such part. */
  private static final int BIT = 0; // first row's bit in the bitmaps of validity and bool
  private static final int GIVEN = 1; // a byte a row, 0: the row leaves the column alone
  private static final int VALID = 2; // a bit a row, 0: NULL
  private static final int OFFSETS = 3; // int32 a row and one more, for text and binary
  private static final int DATA = 4;
  private static final int BASE = 5; // what the first offset counts from
  private static final int FIELDS = 6;

  private static final long GRACE_MS = 2000; // the client times out by itself; this only catches what it forgets

  private final KuduTable table;
  private final AsyncKuduSession[] sessions;
  private final int batchRows;
  private final long batchBytes;
  private final long timeoutMs;
  private final Type[] types;
  private final int[] scales;
  private final int[] lengths; // of varchar, in units of UTF-16
  private final String[] names;

  private final ArrayDeque<Flight> flights = new ArrayDeque<>();
  private final ArrayList<Operation> operations = new ArrayList<>();
  private final ArrayList<Integer> numbers = new ArrayList<>();
  private final ArrayList<Integer> failedRows = new ArrayList<>();
  private final ArrayList<String> failures = new ArrayList<>();
  private final String[] finalStatuses;
  private final String[] altered;
  private Status stopped; // nothing is sent any more: what may pass later must not be overtaken by what comes after it
  private int session;
  private int row; // number of the next row, over all batches
  private long bytes;

  /** A date as it is; java.sql.Date knows neither 1582-10-10 nor days that a time zone has left out. */
  private static final class Day extends Date {
    private final LocalDate day;

    Day(int epochDay) {
      super(0);
      day = LocalDate.ofEpochDay(epochDay);
    }

    @Override
    public LocalDate toLocalDate() {
      return day;
    }
  }

  /** A flush that is under way. */
  private static final class Flight {
    final ArrayList<Operation> operations = new ArrayList<>();
    final ArrayList<Integer> numbers = new ArrayList<>();
    Deferred<List<OperationResponse>> answer;
  }

  /**
   * @param inFlight flushes under way at a time: 1 keeps the order of rows that share a key, 2 fills the next batch
   *     while the last one travels
   * @param finalStatuses names of the statuses that no further try changes; after any other one nothing more is sent
   * @param altered parts of messages (lower case) that say that the table was altered, whatever the status
   */
  public RowWriter(AsyncKuduClient client, KuduTable table, int batchRows, long batchBytes, int inFlight, long timeoutMs,
      String[] finalStatuses, String[] altered) {
    this.table = table;
    this.batchRows = batchRows;
    this.batchBytes = batchBytes;
    this.timeoutMs = timeoutMs;
    this.finalStatuses = finalStatuses;
    this.altered = altered;
    sessions = new AsyncKuduSession[inFlight];
    for (int i = 0; i < inFlight; i++) {
      sessions[i] = client.newSession();
      sessions[i].setFlushMode(SessionConfiguration.FlushMode.MANUAL_FLUSH);
      sessions[i].setMutationBufferSpace(batchRows + 1, Long.MAX_VALUE); // flushed here, by rows and by bytes
      sessions[i].setTimeoutMillis(timeoutMs);
    }
    List<ColumnSchema> columns = table.getSchema().getColumns();
    types = new Type[columns.size()];
    scales = new int[columns.size()];
    lengths = new int[columns.size()];
    names = new String[columns.size()];
    for (int i = 0; i < types.length; i++) {
      types[i] = columns.get(i).getType();
      names[i] = columns.get(i).getName();
      if (types[i] == Type.VARCHAR) {
        lengths[i] = columns.get(i).getTypeAttributes().getLength();
      }
      if (types[i] == Type.DECIMAL) {
        scales[i] = columns.get(i).getTypeAttributes().getScale();
      }
    }
  }

  /**
   * Takes rows, and sends as many as fill a batch.
   *
   * @param codes an operation for each row, in the order of Python's `Operation`
   * @param columns index in the table of each column that comes
   * @param layout where the parts of each column lie in `cells`
   */
  public void add(byte[] codes, int[] columns, int[] layout, byte[] cells) throws InterruptedException {
    ByteBuffer buffer = ByteBuffer.wrap(cells).order(ByteOrder.LITTLE_ENDIAN);
    for (int i = 0; i < codes.length; i++, row++) {
      if (stopped != null) {
        fail(row, stopped);
        continue;
      }
      try {
        Operation operation = operation(codes[i]);
        long size = fill(operation.getRow(), i, columns, layout, cells, buffer);
        if (operations.size() >= batchRows || (bytes + size > batchBytes && !operations.isEmpty())) {
          flush();
          if (stopped != null) {
            fail(row, stopped); // here and not with the rest: failures are told in the order of the rows
            continue;
          }
        }
        operations.add(operation);
        numbers.add(row);
        bytes += size;
      } catch (RuntimeException e) {
        fail(row, Status.InvalidArgument(String.valueOf(e.getMessage())));
      }
    }
  }

  /** Sends the rest, waits for every answer, and gives the numbers of the rows that failed; `failures` tells why. */
  public int[] finish() throws InterruptedException {
    flush();
    while (!flights.isEmpty()) {
      land();
    }
    int[] rows = new int[failedRows.size()];
    for (int i = 0; i < rows.length; i++) {
      rows[i] = failedRows.get(i);
    }
    return rows;
  }

  /** The status of each failed row as `Not found: key not found`, in the order of `finish`. */
  public String[] failures() {
    return failures.toArray(new String[0]);
  }

  @Override
  public void close() {
    for (AsyncKuduSession each : sessions) {
      each.close(); // nothing is left in it; this only takes it off the client's list
    }
  }

  private Operation operation(byte code) {
    switch (code) {
      case 0: return table.newInsert();
      case 1: return table.newInsertIgnore();
      case 2: return table.newUpsert();
      case 3: return table.newUpsertIgnore();
      case 4: return table.newUpdate();
      case 5: return table.newUpdateIgnore();
      case 6: return table.newDelete();
      case 7: return table.newDeleteIgnore();
      default: throw new IllegalArgumentException("operation " + code);
    }
  }

  private long fill(PartialRow target, int i, int[] columns, int[] layout, byte[] cells, ByteBuffer buffer) {
    long size = 0;
    for (int c = 0; c < columns.length; c++) {
      int at = c * FIELDS;
      if (layout[at + GIVEN] >= 0 && cells[layout[at + GIVEN] + i] == 0) {
        continue;
      }
      int column = columns[c];
      int bit = layout[at + BIT] + i;
      if (layout[at + VALID] >= 0 && !bit(cells, layout[at + VALID], bit)) {
        target.setNull(column);
        continue;
      }
      int data = layout[at + DATA];
      size += 8;
      switch (types[column]) {
        case BOOL: target.addBoolean(column, bit(cells, data, bit)); break;
        case INT8: target.addByte(column, cells[data + i]); break;
        case INT16: target.addShort(column, buffer.getShort(data + 2 * i)); break;
        case INT32: target.addInt(column, buffer.getInt(data + 4 * i)); break;
        case INT64:
        case UNIXTIME_MICROS: target.addLong(column, buffer.getLong(data + 8 * i)); break;
        case FLOAT: target.addFloat(column, buffer.getFloat(data + 4 * i)); break;
        case DOUBLE: target.addDouble(column, buffer.getDouble(data + 8 * i)); break;
        case DATE: target.addDate(column, new Day(buffer.getInt(data + 4 * i))); break;
        case DECIMAL: target.addDecimal(column, decimal(cells, data + 16 * i, scales[column])); break;
        default:
          int offsets = layout[at + OFFSETS] + 4 * i;
          int from = data + buffer.getInt(offsets) - layout[at + BASE];
          int to = data + buffer.getInt(offsets + 4) - layout[at + BASE];
          byte[] value = Arrays.copyOfRange(cells, from, to);
          size += value.length;
          if (types[column] == Type.BINARY) {
            target.addBinary(column, value);
          } else if (types[column] == Type.STRING) {
            target.addStringUtf8(column, value);
          } else {
            String text = new String(value, StandardCharsets.UTF_8);
            if (text.length() > lengths[column]) {
              // The client would cut it; it counts a character beyond the first 65536 twice.
              throw new IllegalArgumentException(names[column] + ": too long for varchar(" + lengths[column] + ")");
            }
            target.addVarchar(column, text);
          }
      }
    }
    return size;
  }

  private static boolean bit(byte[] cells, int start, int number) {
    return (cells[start + (number >> 3)] >> (number & 7) & 1) != 0;
  }

  /** Sixteen bytes, two's complement, the least significant first. */
  private static BigDecimal decimal(byte[] cells, int at, int scale) {
    byte[] unscaled = new byte[16];
    for (int i = 0; i < 16; i++) {
      unscaled[15 - i] = cells[at + i];
    }
    return new BigDecimal(new BigInteger(unscaled), scale);
  }

  private void flush() throws InterruptedException {
    Flight flight = new Flight();
    for (int i = 0; i < operations.size(); i++) {
      if (stopped != null) {
        fail(numbers.get(i), stopped);
        continue;
      }
      try {
        sessions[session].apply(operations.get(i));
        flight.operations.add(operations.get(i));
        flight.numbers.add(numbers.get(i));
      } catch (KuduException e) {
        fail(numbers.get(i), e.getStatus());
      } catch (RuntimeException e) {
        fail(numbers.get(i), Status.InvalidArgument(String.valueOf(e.getMessage())));
      }
    }
    operations.clear();
    numbers.clear();
    bytes = 0;
    if (flight.operations.isEmpty()) {
      return;
    }
    flight.answer = sessions[session].flush();
    flights.add(flight);
    session = (session + 1) % sessions.length;
    if (flights.size() == sessions.length) {
      land(); // the session that is filled next is the one whose answer is waited for here
    }
  }

  private void land() throws InterruptedException {
    Flight flight = flights.remove();
    List<OperationResponse> answers;
    try {
      answers = flight.answer.join(timeoutMs + GRACE_MS);
    } catch (InterruptedException e) {
      throw e;
    } catch (TimeoutException e) {
      failAll(flight, Status.TimedOut("no answer to a flush"));
      return;
    } catch (Exception e) {
      failAll(flight, status(e));
      return;
    }
    if (answers.size() != flight.operations.size()) {
      failAll(flight, Status.Aborted(answers.size() + " answers to " + flight.operations.size() + " rows"));
      return;
    }
    IdentityHashMap<Operation, Integer> byOperation = null;
    for (OperationResponse answer : answers) {
      if (answer != null && answer.hasRowError()) {
        if (byOperation == null) {
          byOperation = new IdentityHashMap<>();
          for (int i = 0; i < flight.operations.size(); i++) {
            byOperation.put(flight.operations.get(i), flight.numbers.get(i));
          }
        }
        fail(byOperation.get(answer.getRowError().getOperation()), answer.getRowError().getErrorStatus());
      }
    }
  }

  /** Where several tablets are written, the client wraps what it says about one of them. */
  private static Status status(Exception error) {
    for (Throwable cause = error; cause != null; cause = cause.getCause()) {
      if (cause instanceof KuduException) {
        return ((KuduException) cause).getStatus();
      }
    }
    return Status.Aborted(String.valueOf(error));
  }

  private void failAll(Flight flight, Status status) {
    for (int number : flight.numbers) {
      fail(number, status);
    }
  }

  private void fail(int number, Status status) {
    if (stopped == null && !isFinal(status)) {
      stopped = status;
    }
    failedRows.add(number);
    failures.add(status.toString());
  }

  private boolean isFinal(Status status) {
    String text = status.toString();
    for (String part : altered) {
      if (text.toLowerCase(Locale.ROOT).contains(part)) {
        return false;
      }
    }
    for (String name : finalStatuses) {
      if (text.startsWith(name + ":")) {
        return true;
      }
    }
    return false;
  }
}
