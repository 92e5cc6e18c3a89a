package statuspage

// extended reads 5;N or 2;R;G;B and returns how many parameters that were.
func extended(values []int) (colour uint8, used int) {
	switch {
	case len(values) >= 2 && values[0] == 5:
		return ofPalette(values[1]), 2
	case len(values) >= 4 && values[0] == 2:
		return nearest(values[1], values[2], values[3]), 4
	}
	return 0, len(values)
}

// ofPalette turns a colour of 256 into one of sixteen.
func ofPalette(n int) uint8 {
	switch {
	case n < 16:
		return uint8(n + 1) //nolint:gosec // at most 16
	case n < 232:
		level := [...]int{0, 95, 135, 175, 215, 255}
		n -= 16
		return nearest(level[n/36], level[n/6%6], level[n%6])
	}
	grey := 8 + 10*(min(n, 255)-232)
	return nearest(grey, grey, grey)
}

// usual are the sixteen colours as terminals have them.
var usual = [16][3]int{
	{0, 0, 0},
	{205, 49, 49},
	{13, 188, 121},
	{229, 229, 16},
	{36, 114, 200},
	{188, 63, 188},
	{17, 168, 205},
	{229, 229, 229},
	{102, 102, 102},
	{241, 76, 76},
	{35, 209, 139},
	{245, 245, 67},
	{59, 142, 234},
	{214, 112, 214},
	{41, 184, 219},
	{255, 255, 255},
}

func nearest(r, g, b int) uint8 {
	best, least := 0, 1<<30
	for i, c := range usual {
		dr, dg, db := min(r, 255)-c[0], min(g, 255)-c[1], min(b, 255)-c[2]
		if d := dr*dr + dg*dg + db*db; d < least {
			best, least = i, d
		}
	}
	return uint8(best + 1) // at most 16
}
