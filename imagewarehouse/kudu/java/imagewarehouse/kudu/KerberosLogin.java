package imagewarehouse.kudu;

import java.io.File;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import javax.security.auth.Subject;
import javax.security.auth.kerberos.KerberosPrincipal;
import javax.security.auth.kerberos.KerberosTicket;
import javax.security.auth.kerberos.KeyTab;
import javax.security.auth.login.AppConfigurationEntry;
import javax.security.auth.login.Configuration;
import javax.security.auth.login.LoginContext;
import javax.security.auth.login.LoginException;
import org.apache.kudu.client.AsyncKuduClient;
import org.apache.kudu.client.internals.SecurityManagerCompatibility;

/**
 * One Kerberos login, from a keytab or from a ticket cache, and the client that uses it.
 *
 * The client keeps the subject that it was built as and leaves the renewal to its owner, so a new ticket goes into that
 * same subject. Nothing of the JVM is set: two logins are two subjects.
 */
public final class KerberosLogin {
  private static final double RENEW_AT = 0.8; // of a ticket's life, as Hadoop does

  private final Subject subject = new Subject();
  private final Map<String, String> options = new HashMap<>();

  private KerberosLogin() {
    options.put("doNotPrompt", "true");
    options.put("refreshKrb5Config", "true"); // a krb5.conf that was corrected is read again
  }

  /** The client takes a subject by its principal, so it can be built before the KDC answers for the first time. */
  public static KerberosLogin ofKeytab(String principal, String keytab) {
    KerberosLogin login = new KerberosLogin();
    login.options.put("useKeyTab", "true");
    login.options.put("keyTab", keytab);
    login.options.put("principal", principal);
    login.subject.getPrincipals().add(new KerberosPrincipal(principal));
    return login;
  }

  /** `cache` is a file that someone else keeps up to date; `login` has to succeed before `build`. */
  public static KerberosLogin ofTicketCache(String cache) {
    KerberosLogin login = new KerberosLogin();
    login.options.put("useTicketCache", "true");
    login.options.put("ticketCache", cache);
    login.options.put("renewTGT", "true");
    return login;
  }

  /** How many keys of the principal the file has; 0 as well where it is no keytab. */
  public static int keys(String principal, String keytab) {
    KerberosPrincipal name = new KerberosPrincipal(principal);
    return KeyTab.getInstance(name, new File(keytab)).getKeys(name).length;
  }

  /** Gets a ticket and puts it in the place of what there was. */
  public synchronized void login() throws LoginException {
    Subject fresh = new Subject();
    new LoginContext("imagewarehouse", fresh, null, new Options()).login();
    Set<KerberosPrincipal> names = subject.getPrincipals(KerberosPrincipal.class);
    if (!names.isEmpty() && !names.equals(fresh.getPrincipals(KerberosPrincipal.class))) {
      throw new LoginException("expected a ticket of " + names + ", received one of " + fresh.getPrincipals());
    }
    Set<KerberosTicket> old = new HashSet<>(subject.getPrivateCredentials(KerberosTicket.class));
    old.removeAll(fresh.getPrivateCredentials());
    subject.getPrincipals().addAll(fresh.getPrincipals());
    // The new ticket comes before the old ones go: a connection may be made at any time.
    subject.getPrivateCredentials().addAll(fresh.getPrivateCredentials());
    subject.getPrivateCredentials().removeAll(old);
  }

  /** Milliseconds until a new ticket is due; 0 or less when it is, or there is none. */
  public long renewInMs() {
    KerberosTicket ticket = ticket();
    if (ticket == null) {
      return 0;
    }
    long from = (ticket.getStartTime() == null ? ticket.getAuthTime() : ticket.getStartTime()).getTime();
    long until = ticket.getEndTime().getTime();
    return from + (long) (RENEW_AT * (until - from)) - System.currentTimeMillis();
  }

  /** Whether there is a ticket that servers take. */
  public boolean isValid() {
    return ticket() != null;
  }

  public String principal() {
    Set<KerberosPrincipal> names = subject.getPrincipals(KerberosPrincipal.class);
    return names.isEmpty() ? "" : names.iterator().next().getName();
  }

  /** The client finds the current subject in another way from release to release of Java; this is its own. */
  public AsyncKuduClient build(AsyncKuduClient.AsyncKuduClientBuilder builder) {
    return SecurityManagerCompatibility.get().callAs(subject, builder::build);
  }

  /** The ticket-granting ticket that is valid longest. */
  private KerberosTicket ticket() {
    KerberosTicket found = null;
    for (KerberosTicket ticket : subject.getPrivateCredentials(KerberosTicket.class)) {
      if (ticket.getServer().getName().startsWith("krbtgt/") && ticket.isCurrent()
          && (found == null || ticket.getEndTime().after(found.getEndTime()))) {
        found = ticket;
      }
    }
    return found;
  }

  private final class Options extends Configuration {
    @Override
    public AppConfigurationEntry[] getAppConfigurationEntry(String name) {
      return new AppConfigurationEntry[] {new AppConfigurationEntry("com.sun.security.auth.module.Krb5LoginModule",
          AppConfigurationEntry.LoginModuleControlFlag.REQUIRED, options)};
    }
  }
}
