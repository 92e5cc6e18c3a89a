package mask

// SetMostStates makes a set full sooner.
func (s *Set) SetMostStates(n int) { s.most = n }
