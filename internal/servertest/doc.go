// Package servertest runs the real server core in a test, without a network: a
// directory of users and projects in memory, modules of the test's choice, and
// clients whose streams end in the test itself.
//
//	dir := servertest.NewDirectory().
//		AddUser("alice", "Alice").
//		AddUser("bob", "Bob").
//		AddProject("apollo", "Apollo", "alice", "bob")
//	s := servertest.New(t, servertest.Options{
//		Directory: dir,
//		Modules:   []server.Module{roster.New(roster.Options{Projects: dir, Users: dir})},
//	})
//	alice := s.Login("alice/web")                    // authenticated and bound
//	bob := s.Online("bob/phone")                     // and available
//	alice.Send("<message to='bob@example.com' type='chat'><body>hi</body></message>")
//	bob.Expect("<message from='{alice}' to='bob@example.com' type='chat'><body>hi</body></message>")
//	answer := alice.Ask("get", "example.com", "<ping xmlns='urn:xmpp:ping'/>")
//	dir.Join("gemini", "alice")                      // has been told to the modules on return
//	alice.ExpectNothing()
//	bob.Drop()                                       // the cable is cut
//	alice.ExpectClosed(server.ReasonPing)
//
// What a client sends is worked off on the caller's goroutine: when Send
// returns, everything that it caused on any stream can be read. Only kicks and
// timers act later; Next and Expect wait for them. Expected XML is compared by
// meaning and may have the holes of package transcript: {any}, {name} and so on;
// {alice} is the address of the client that logged in as alice last, {alice/web}
// that of the one that logged in as "alice/web".
//
// What is written and not flushed never arrives, as on a real connection. A
// panic that the core caught fails the test, unless Options.Panics is set.
//
// Everything works inside a testing/synctest bubble, with New called in it.
package servertest
