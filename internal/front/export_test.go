package front

// Attached reports whether a reply is written by who sends it, and no longer by who
// reads the request.
func (x *Exchange) Attached() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.conn != nil
}
