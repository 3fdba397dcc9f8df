package imagewarehouse.kudu;

import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import org.apache.kudu.ColumnSchema;
import org.apache.kudu.Type;
import org.apache.kudu.client.KuduException;
import org.apache.kudu.client.KuduScanner;
import org.apache.kudu.client.RowResult;

/**
 * Reads the rows of a scan column by column, in Arrow's memory layout.
 *
 * One call gives some ten thousand rows: a call for each cell costs half a microsecond on the way to Python. Not thread-safe.
 */
public final class RowReader {
  private static final int ROWS = 65_536; // of one answer, or a little more: what the server has sent is not cut
  private static final int BYTES = 4 << 20;

  private final KuduScanner scanner;
  private final Column[] columns;
  private long remaining;
  private int rows;

  /** @param limit how many rows at most; negative: all */
  public RowReader(KuduScanner scanner, long limit) {
    this.scanner = scanner;
    remaining = limit < 0 ? Long.MAX_VALUE : limit;
    scanner.setReuseRowResult(true);
    List<ColumnSchema> schemas = scanner.getProjectionSchema().getColumns();
    columns = new Column[schemas.size()];
    for (int i = 0; i < columns.length; i++) {
      columns[i] = new Column(i, schemas.get(i).getType());
    }
  }

  /**
   * The next rows; none at the end.
   *
   * @return three parts a column: validity (a bit a row; null: no row is NULL), offsets (null: the type has none), data
   */
  public byte[][] next() throws KuduException {
    rows = 0;
    for (Column column : columns) {
      column.clear();
    }
    long bytes = 0;
    while (remaining > 0 && rows < ROWS && bytes < BYTES && scanner.hasMoreRows()) {
      for (RowResult row : scanner.nextRows()) {
        if (remaining == 0) {
          break;
        }
        for (Column column : columns) {
          column.add(row, rows);
        }
        rows++;
        remaining--;
      }
      bytes = 0;
      for (Column column : columns) {
        bytes += column.size;
      }
    }
    if (remaining == 0 && !scanner.isClosed()) {
      scanner.close();
    }
    byte[][] parts = new byte[3 * columns.length][];
    for (int i = 0; i < columns.length; i++) {
      columns[i].finish(parts, 3 * i, rows);
    }
    return parts;
  }

  /** How many rows the last call has given. */
  public int rows() {
    return rows;
  }

  private static final class Column {
    private final int number;
    private final Type type;
    private final boolean text; // or binary
    private byte[] data = new byte[1024];
    private byte[] offsets = new byte[1024];
    private byte[] validity = new byte[128];
    private boolean nulls;
    private int size;

    Column(int number, Type type) {
      this.number = number;
      this.type = type;
      text = type == Type.STRING || type == Type.VARCHAR || type == Type.BINARY;
    }

    void clear() {
      size = 0;
      nulls = false;
      Arrays.fill(validity, (byte) 0);
    }

    void add(RowResult row, int at) {
      if (at >> 3 >= validity.length) {
        validity = Arrays.copyOf(validity, 2 * validity.length);
      }
      boolean isNull = row.isNull(number);
      if (isNull) {
        nulls = true;
      } else {
        validity[at >> 3] |= (byte) (1 << (at & 7));
      }
      if (text) {
        if (4 * at + 8 > offsets.length) {
          offsets = Arrays.copyOf(offsets, 2 * offsets.length);
        }
        put(offsets, 4 * at, size, 4);
        if (!isNull) {
          byte[] value = bytes(row);
          reserve(value.length);
          System.arraycopy(value, 0, data, size, value.length);
          size += value.length;
        }
        return;
      }
      reserve(16);
      switch (type) {
        case BOOL: // a bit a row
          if ((at & 7) == 0) {
            data[size++] = 0;
          }
          if (!isNull && row.getBoolean(number)) {
            data[at >> 3] |= (byte) (1 << (at & 7));
          }
          break;
        case INT8: number(isNull ? 0 : row.getByte(number), 1); break;
        case INT16: number(isNull ? 0 : row.getShort(number), 2); break;
        case INT32:
        case DATE: number(isNull ? 0 : row.getInt(number), 4); break; // java.sql.Date has no 10 October 1582
        case INT64:
        case UNIXTIME_MICROS: number(isNull ? 0 : row.getLong(number), 8); break;
        case FLOAT: number(isNull ? 0 : Float.floatToRawIntBits(row.getFloat(number)), 4); break;
        case DOUBLE: number(isNull ? 0 : Double.doubleToRawLongBits(row.getDouble(number)), 8); break;
        case DECIMAL: decimal(isNull ? BigInteger.ZERO : row.getDecimal(number).unscaledValue()); break;
        default: throw new IllegalArgumentException("type " + type);
      }
    }

    private byte[] bytes(RowResult row) {
      switch (type) {
        case STRING: return row.getString(number).getBytes(StandardCharsets.UTF_8);
        case VARCHAR: return row.getVarchar(number).getBytes(StandardCharsets.UTF_8);
        default: return row.getBinaryCopy(number);
      }
    }

    private void number(long value, int width) {
      put(data, size, value, width);
      size += width;
    }

    /** Sixteen bytes, two's complement, the least significant first. */
    private void decimal(BigInteger unscaled) {
      byte[] bytes = unscaled.toByteArray();
      byte sign = (byte) (unscaled.signum() < 0 ? -1 : 0);
      for (int i = 0; i < 16; i++) {
        data[size++] = i < bytes.length ? bytes[bytes.length - 1 - i] : sign;
      }
    }

    private void reserve(int more) {
      if (size + more > data.length) {
        data = Arrays.copyOf(data, Math.max(size + more, 2 * data.length));
      }
    }

    private static void put(byte[] target, int at, long value, int width) {
      for (int i = 0; i < width; i++) {
        target[at + i] = (byte) (value >> (8 * i));
      }
    }

    void finish(byte[][] parts, int first, int rows) {
      parts[first] = nulls ? Arrays.copyOf(validity, (rows + 7) / 8) : null;
      if (text) {
        put(offsets, 4 * rows, size, 4);
        parts[first + 1] = Arrays.copyOf(offsets, 4 * (rows + 1));
      }
      parts[first + 2] = Arrays.copyOf(data, size);
    }
  }
}
