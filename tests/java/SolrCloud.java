import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.solr.cloud.MiniSolrCloudCluster;

/**
 * SolrCloud: ZooKeeper and nodes in one JVM. Given: a folder that is not there yet (a used one cannot be started on), number of nodes,
 * a security.json, a file that will hold ZooKeeper's address and the nodes' ones, and then name and folder of each configset.
 */
public class SolrCloud {
  public static void main(String[] given) throws Exception {
    MiniSolrCloudCluster.Builder builder =
        new MiniSolrCloudCluster.Builder(Integer.parseInt(given[1]), Files.createDirectories(Path.of(given[0])))
            .withSecurityJson(Path.of(given[2]));
    for (int at = 4; at < given.length; at += 2) {
      builder.addConfig(given[at], Path.of(given[at + 1]));
    }
    MiniSolrCloudCluster cluster = builder.configure();
    StringBuilder addresses = new StringBuilder(cluster.getZkServer().getZkAddress());
    cluster.getJettySolrRunners().forEach(node -> addresses.append('\n').append(node.getBaseUrl()));
    Path unfinished = Path.of(given[3] + ".part");
    Files.writeString(unfinished, addresses);
    Files.move(unfinished, Path.of(given[3]));
    Thread.currentThread().join();
  }
}
