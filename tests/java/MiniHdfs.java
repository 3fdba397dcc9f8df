import java.io.File;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.hdfs.MiniDFSCluster;

/** A NameNode, which also serves WebHDFS, and a DataNode in one JVM: folder, port of the NameNode, its HTTP port. */
public class MiniHdfs {
  public static void main(String[] given) throws Exception {
    Configuration settings = new Configuration();
    settings.setInt("dfs.replication", 1);
    settings.set("dfs.permissions.superusergroup", "administrators");
    File folder = new File(given[0]);
    MiniDFSCluster cluster = new MiniDFSCluster.Builder(settings, folder)
        .numDataNodes(1)
        .nameNodePort(Integer.parseInt(given[1]))
        .nameNodeHttpPort(Integer.parseInt(given[2]))
        .format(!new File(folder, "name-0-1").exists())
        .build();
    cluster.waitClusterUp();
    System.out.println("READY");
    Thread.currentThread().join();
  }
}
