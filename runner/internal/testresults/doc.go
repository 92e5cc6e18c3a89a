// Package testresults knows how to read what test runners and coverage tools
// write: JUnit, NUnit 2 and 3, xUnit.net v2, TRX and CTest into [Run] and [Case],
// Cobertura and JaCoCo into [Counter]. It talks to nobody.
//
// [Read] passes the cases of a file on as it meets them, so that a file of any
// size needs the memory of one case:
//
//	run, err := testresults.Read(file, "TEST-a.xml", testresults.JUnit, masks, func(c testresults.Case) error {
//		…
//	})
//
// The files are foreign bytes. Entities are not expanded, and size, depth, number
// of cases and length of texts are bounded; an error names file and line.
package testresults
