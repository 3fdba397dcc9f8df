import java.io.File;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.hbase.HBaseConfiguration;
import org.apache.hadoop.hbase.LocalHBaseCluster;
import org.apache.hadoop.hbase.thrift.ThriftServer;
import org.apache.hadoop.hbase.zookeeper.MiniZooKeeperCluster;

/** ZooKeeper, master, region server and Thrift server in one JVM: folder, port of ZooKeeper, port of Thrift. */
public class MiniHBase {
  public static void main(String[] given) throws Exception {
    Configuration settings = HBaseConfiguration.create();
    File folder = new File(given[0]).getAbsoluteFile();
    folder.mkdirs();
    settings.set("hbase.rootdir", "file://" + folder + "/hbase");
    settings.set("hbase.tmp.dir", folder + "/tmp");
    settings.set("hbase.zookeeper.quorum", "127.0.0.1");
    settings.setBoolean("hbase.cluster.distributed", false);
    settings.setBoolean("hbase.unsafe.stream.capability.enforce", false);
    settings.set("hbase.wal.provider", "filesystem");
    settings.set("hbase.localcluster.assign.random.ports", "true");
    for (String port : new String[] {"hbase.master.port", "hbase.regionserver.port"}) {
      settings.setInt(port, 0);
    }
    for (String port : new String[] {"hbase.master.info.port", "hbase.regionserver.info.port", "hbase.thrift.info.port"}) {
      settings.setInt(port, -1);
    }
    settings.setInt("hbase.regionserver.handler.count", 8);
    MiniZooKeeperCluster zookeeper = new MiniZooKeeperCluster(settings);
    zookeeper.setDefaultClientPort(Integer.parseInt(given[1]));
    zookeeper.startup(new File(folder, "zookeeper"));
    settings.setInt("hbase.zookeeper.property.clientPort", zookeeper.getClientPort());
    LocalHBaseCluster cluster = new LocalHBaseCluster(settings);
    cluster.startup();
    while (cluster.getActiveMaster() == null || !cluster.getActiveMaster().isInitialized()) {
      Thread.sleep(100);
    }
    new ThriftServer(settings).run(new String[] {"start", "-p", given[2], "--bind", "127.0.0.1", "-threadpool"});
  }
}
