package conf

// Memory is how the process deals with memory it no longer needs. Variables of the
// environment that Go's runtime reads itself, GOGC and GOMEMLIMIT, come first.
type Memory struct {
	GCPercent int  `yaml:"gc_percent"` // as GOGC
	Limit     Size `yaml:"limit"`      // as GOMEMLIMIT; 0 for nine tenths of the control group's, if it has one
	GiveBack  bool `yaml:"give_back"`  // to the system, after a storm
}

func checkMemory(c *Config, r *report) {
	between(r, "memory.gc_percent", c.Memory.GCPercent, 10, 1000)
	if c.Memory.Limit != 0 {
		between(r, "memory.limit", c.Memory.Limit, 32*MiB, 65536*GiB)
	}
}
