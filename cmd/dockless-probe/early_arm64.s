//go:build linux && !race && !msan && !asan

#include "textflag.h"

// earlyEntry is called by the runtime's rt0_go with g set to g0, whose stack
// bounds are set. Go code finds its closure through R26.
TEXT earlyEntry(SB), NOSPLIT|NOFRAME, $0
	MOVD ·earlyRun(SB), R26
	MOVD (R26), R0
	CALL (R0)
	BRK // earlyRun does not return
