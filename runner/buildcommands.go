package runner

// buildCommands change the run and its artifacts (protocol §9.1 to §9.3).
func buildCommands() commandTable {
	return commandTable{
		"artifact": {"associate": nil, "upload": nil},
		"build":    {"updatebuildnumber": nil, "addbuildtag": nil},
		"release":  {"updatereleasename": nil},
	}
}
