import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import py4j.GatewayServer;

/**
 * The Java end of NiFi's Python bridge: py4j as NiFi starts it, and objects with the methods and the private fields of
 * NiFi's StandardInputFlowFile. Prints its port; ends when its standard input does.
 */
public class Bridge {
    /** How often a content crossed as text. */
    public static final AtomicInteger READS = new AtomicInteger();
    public static final AtomicInteger EXPORTS = new AtomicInteger();

    public static void main(final String[] arguments) throws IOException {
        final GatewayServer server = new GatewayServer.GatewayServerBuilder(new Bridge())
            .javaPort(0)
            .javaAddress(InetAddress.getLoopbackAddress())
            .authToken(arguments[0])
            .build();
        server.start();
        System.out.println(server.getListeningPort());
        while (System.in.read() >= 0) {
            continue;
        }
        System.exit(0);
    }

    public static byte[] bytes(final int size, final int seed) {
        final byte[] content = new byte[size];
        for (int i = 0; i < size; i++) {
            content[i] = (byte) (i * 31 + (i >>> 8) * 7 + seed);
        }
        return content;
    }

    public Object flowFile(final int size, final int seed, final String behaviour) {
        final FlowFile flowFile = new FlowFile(bytes(size, seed), Map.of("size", Integer.toString(size)));
        return behaviour.equals("renamed") ? new Renamed(flowFile) : new Input(new Session(behaviour), flowFile);
    }

    public Object flowFileOf(final String attribute, final String value) {
        return new Input(new Session("whole"), new FlowFile(new byte[0], Map.of(attribute, value)));
    }

    /** What was put into a FlowFile. */
    public byte[] imported(final Input input) {
        return input.flowFile.imported;
    }

    public int reads() {
        return READS.get();
    }

    public int exports() {
        return EXPORTS.get();
    }

    /** Calls a processor as NiFi does. */
    public Object transform(final Processor processor, final Object flowFile) {
        return processor.transform(flowFile);
    }

    public interface Processor {
        Object transform(Object flowFile);
    }

    public static class FlowFile {
        private final byte[] content;
        private final Map<String, String> attributes;
        private byte[] imported;

        FlowFile(final byte[] content, final Map<String, String> attributes) {
            this.content = content;
            this.attributes = attributes;
        }
    }

    public static class Session {
        private final String behaviour;

        Session(final String behaviour) {
            this.behaviour = behaviour;
        }

        public FlowFile importFrom(final InputStream source, final FlowFile destination) throws IOException {
            switch (behaviour) {
                case "whole":
                    destination.imported = source.readAllBytes();
                    return destination;
                case "dies half-way":
                    source.skipNBytes(source.available() / 2);
                    throw new IOException("the disk is full");
                default:
                    throw new IllegalStateException("no session of this FlowFile is active");
            }
        }

        public void exportTo(final FlowFile source, final Path destination, final boolean append) throws IOException {
            EXPORTS.incrementAndGet();
            // As FileSystemRepository does it.
            try (OutputStream out = new FileOutputStream(destination.toFile(), append)) {
                switch (behaviour) {
                    case "whole":
                        out.write(source.content);
                        break;
                    case "short":
                        out.write(source.content, 0, source.content.length - 1);
                        break;
                    case "empty":
                        break;
                    case "dies half-way":
                        out.write(source.content, 0, source.content.length / 2);
                        throw new IOException("the content is not there");
                    default:
                        throw new IllegalStateException("no session of this FlowFile is active");
                }
            }
        }
    }

    /** With the fields of NiFi's StandardInputFlowFile. */
    public static class Input {
        private final Session session;
        private final FlowFile flowFile;

        Input(final Session session, final FlowFile flowFile) {
            this.session = session;
            this.flowFile = flowFile;
        }

        public byte[] getContentsAsBytes() throws IOException {
            READS.incrementAndGet();
            if (session.behaviour.equals("lost")) {
                throw new IOException("the content is not there");
            }
            return flowFile.content;
        }

        public long getSize() {
            return flowFile.content.length;
        }

        public String getAttribute(final String name) {
            return flowFile.attributes.get(name);
        }
    }

    /** What a NiFi to come may make of it. */
    public static class Renamed {
        private final FlowFile inner;

        Renamed(final FlowFile inner) {
            this.inner = inner;
        }

        public byte[] getContentsAsBytes() {
            READS.incrementAndGet();
            return inner.content;
        }

        public long getSize() {
            return inner.content.length;
        }

        public String getAttribute(final String name) {
            return inner.attributes.get(name);
        }
    }
}
