package tcp

// Simple makes an Acceptor use the loop of systems without a lean link.
func (a *Acceptor) Simple() { a.simple = true }
