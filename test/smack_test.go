//go:build clients

package test

import (
	"os"
	"path/filepath"
	"testing"

	"rollcall/conf"
	"rollcall/internal/auth"
	"rollcall/storage"
)

// TestSmack is Smack, as apps on Android have it, over TCP with STARTTLS.
func TestSmack(t *testing.T) {
	a := startForClients(t)
	tcp, _ := a.Addresses()
	smackClasses(t)
	java(t, "smack/client", "rollcall.Main", "-Dport="+port(t, tcp[0]))
}

// TestSmackIntegration is Smack's own integration test framework, on a server whose
// administrator makes the accounts for it (XEP-0133). What has to pass is in must.txt: the
// rest needs services that the server does not have, and most of it finds that out itself.
// The three that are disabled are personal eventing (XEP-0163), and would fail instead. The
// results of all tests go to the file that ROLLCALL_SMACK_REPORT names, if any.
func TestSmackIntegration(t *testing.T) {
	a := startForClients(t, func(c *conf.Config) {
		c.Listen.TCP = []conf.TCPListener{{Address: "127.0.0.1:0", TLS: conf.TLSNone, PlainWithoutTLS: true}}
		c.Modules.Commands.Admins = []string{"boss@localhost"}
	})
	credentials, err := auth.NewCredentials("secret", auth.MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	boss := storage.UserRecord{User: storage.User{ID: "boss"}, Credentials: &credentials}
	if err := a.Store().AddUser(t.Context(), boss); err != nil {
		t.Fatal(err)
	}
	properties := []string{
		"-Drollcall.must=must.txt", "-Dsinttest.service=localhost", "-Dsinttest.host=127.0.0.1",
		"-Dsinttest.dnsResolver=javax", "-Dsinttest.securityMode=disabled", "-Dsinttest.enabledConnections=tcp",
		"-Dsinttest.disabledSpecifications=XEP-0080,XEP-0107,XEP-0118", "-Dsinttest.replyTimeout=10000",
		"-Dsinttest.adminAccountUsername=boss", "-Dsinttest.adminAccountPassword=secret",
	}
	if report := os.Getenv("ROLLCALL_SMACK_REPORT"); report != "" {
		report, err := filepath.Abs(report)
		if err != nil {
			t.Fatal(err)
		}
		properties = append(properties, "-Drollcall.report="+report)
	}
	tcp, _ := a.Addresses()
	smackClasses(t)
	java(t, "smack/integration", "rollcall.Integration", append(properties, "-Drollcall.port="+port(t, tcp[0]))...)
}

// smackClasses builds what is in test/smack, from what scripts/setup fetched.
func smackClasses(t *testing.T) {
	t.Helper()
	run(t, "smack", "mvn", "-q", "-o", "-B", "-Dstyle.color=never", "process-classes")
}

// java runs a class of a module of test/smack, in a small machine.
func java(t *testing.T, module, class string, properties ...string) {
	t.Helper()
	args := append([]string{"-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-cp", "target/classes:target/lib/*"}, properties...)
	run(t, module, "java", append(args, class)...)
}
