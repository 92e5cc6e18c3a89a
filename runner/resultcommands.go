package runner

// resultCommands publish test results and coverage (protocol §9.5).
func resultCommands() commandTable {
	return commandTable{
		"results":      {"publish": nil, "publishtoevidencestore": nil},
		"codecoverage": {"publish": nil},
	}
}
