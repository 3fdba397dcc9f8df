import org.apache.solr.embedded.JettyConfig;
import org.apache.solr.embedded.JettySolrRunner;

/** One Solr without ZooKeeper: its home folder, port. What is in the home folder is there again after a restart. */
public class SolrSingle {
  public static void main(String[] given) throws Exception {
    JettySolrRunner solr =
        new JettySolrRunner(given[0], new JettyConfig.Builder().setPort(Integer.parseInt(given[1])).build());
    solr.start();
    System.out.println("READY");
    Thread.currentThread().join();
  }
}
