package podmanrun

import (
	"maps"
	"slices"

	"github.com/compose-spec/compose-go/v2/types"
	"golang.org/x/sys/unix"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// cpuPeriod is the kernel's usual CFS period in microseconds.
const cpuPeriod = 100_000

// limits collects what bounds the container, from the service's own keys and from
// deploy.resources. Nothing bounded is nil.
func limits(s types.ServiceConfig) *libpod.Resources {
	memory, cpus, pids := int64(s.MemLimit), float64(s.CPUS), s.PidsLimit
	reserved := int64(s.MemReservation)
	if s.Deploy != nil {
		if l := s.Deploy.Resources.Limits; l != nil {
			memory, cpus, pids = or(memory, int64(l.MemoryBytes)), or(cpus, float64(l.NanoCPUs)), or(pids, l.Pids)
		}
		if l := s.Deploy.Resources.Reservations; l != nil {
			reserved = or(reserved, int64(l.MemoryBytes))
		}
	}
	r := libpod.Resources{}
	m := libpod.MemoryLimit{
		Limit: memory, Reservation: reserved, Swap: int64(s.MemSwapLimit), Swappiness: uint64(max(0, s.MemSwappiness)), DisableOOMKiller: s.OomKillDisable,
	}
	if m != (libpod.MemoryLimit{}) {
		r.Memory = &m
	}
	c := libpod.CPULimit{
		Quota: s.CPUQuota, Period: uint64(max(0, s.CPUPeriod)), Shares: uint64(max(0, s.CPUShares)), Cpus: s.CPUSet,
		RealtimePeriod: uint64(max(0, s.CPURTPeriod)), RealtimeRuntime: s.CPURTRuntime,
	}
	if cpus != 0 {
		c.Period = or(c.Period, cpuPeriod)
		c.Quota = int64(cpus * float64(c.Period))
	}
	if c != (libpod.CPULimit{}) {
		r.CPU = &c
	}
	if pids != 0 {
		r.Pids = &libpod.PidsLimit{Limit: pids}
	}
	if b := s.BlkioConfig; b != nil && b.Weight > 0 {
		r.BlockIO = &libpod.BlockIO{Weight: b.Weight}
	}
	if r == (libpod.Resources{}) {
		return nil
	}
	return &r
}

// or is the first of two numbers that is not zero.
func or[T int64 | uint64 | float64](a, b T) T {
	if a != 0 {
		return a
	}
	return b
}

// addBlockIO bounds what the container reads and writes on block devices.
func addBlockIO(r *createRequest, s types.ServiceConfig) {
	b := s.BlkioConfig
	if b == nil {
		return
	}
	for _, w := range b.WeightDevice {
		if r.WeightDevice == nil {
			r.WeightDevice = make(map[string]libpod.Weight)
		}
		r.WeightDevice[w.Path] = libpod.Weight{Weight: w.Weight}
	}
	for _, list := range []struct {
		from []types.ThrottleDevice
		to   *map[string]libpod.Throttle
	}{
		{b.DeviceReadBps, &r.ThrottleReadBps},
		{b.DeviceWriteBps, &r.ThrottleWriteBps},
		{b.DeviceReadIOps, &r.ThrottleReadIOPS},
		{b.DeviceWriteIOps, &r.ThrottleWriteIOPS},
	} {
		for _, t := range list.from {
			if *list.to == nil {
				*list.to = make(map[string]libpod.Throttle)
			}
			(*list.to)[t.Path] = libpod.Throttle{Rate: uint64(max(0, t.Rate))}
		}
	}
}

func rlimits(s types.ServiceConfig) []libpod.Rlimit {
	var list []libpod.Rlimit
	for _, name := range slices.Sorted(maps.Keys(s.Ulimits)) {
		u := s.Ulimits[name]
		soft, hard := u.Soft, u.Hard
		if u.Single != 0 {
			soft, hard = u.Single, u.Single
		}
		list = append(list, libpod.Rlimit{Type: name, Soft: rlimitValue(soft), Hard: rlimitValue(hard)})
	}
	return list
}

// rlimitValue maps -1 to "no limit".
func rlimitValue(v int) uint64 {
	if v < 0 {
		return unix.RLIM_INFINITY
	}
	return uint64(v)
}
