//go:build linux && !race && !msan && !asan

#include "textflag.h"

// earlyEntry is called by the runtime's rt0_go with the address of g0, whose
// stack bounds are set, in DI. Go code wants g in R14 and zero in X15.
TEXT earlyEntry(SB), NOSPLIT|NOFRAME, $0
	MOVQ DI, R14
	XORPS X15, X15
	MOVQ ·earlyRun(SB), DX
	MOVQ (DX), CX
	CALL CX
	INT $3 // earlyRun does not return
