//go:build clients

package test

import (
	"testing"
)

// TestSmack is Smack, as apps on Android have it, over TCP with STARTTLS.
func TestSmack(t *testing.T) {
	a := startForClients(t)
	tcp, _ := a.Addresses()
	smackClasses(t)
	java(t, "smack/client", "rollcall.Main", "-Dport="+port(t, tcp[0]), "-Dkept=false")
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
