package imagebuild

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestADeadRegistryIsAskedAgainAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d deadRegistries
		if err := d.check("reg"); err != nil {
			t.Errorf("check of an unknown registry = %v, want nil", err)
		}
		gone := errors.New("gone")
		d.add("reg", gone)
		time.Sleep(deadFor - time.Second)
		if err := d.check("reg"); !errors.Is(err, gone) {
			t.Errorf("check just before the time = %v, want %v", err, gone)
		}
		time.Sleep(2 * time.Second)
		if err := d.check("reg"); err != nil {
			t.Errorf("check after the time = %v, want nil", err)
		}
	})
}

func TestAnswersOfARegistryAreToldApart(t *testing.T) {
	for name, test := range map[string]struct {
		err                 error
		unreachable, absent bool
	}{
		"no cache yet":         {errors.New("reg/c:new: not found"), false, true},
		"a cache, no image":    {errors.New("encountered unknown type application/vnd.buildkit.cacheconfig.v0; children may not be fetched"), false, false},
		"no login":             {errors.New("failed to authorize: 401 Unauthorized"), false, false},
		"refused":              {errors.New(`failed to do request: Head "http://r/v2/": dial tcp 127.0.0.1:1: connect: connection refused`), true, false},
		"silent":               {fmt.Errorf("%w within 2s", errImportSlow), true, false},
		"a deadline elsewhere": {status.Error(codes.DeadlineExceeded, "context deadline exceeded"), true, false},
		"an unknown host":      {errors.New("dial tcp: lookup reg.ci.svc: no such host"), true, false},
	} {
		if got := isUnreachable(test.err); got != test.unreachable {
			t.Errorf("isUnreachable(%s) = %t, want %t", name, got, test.unreachable)
		}
		if got := isAbsent(test.err); got != test.absent {
			t.Errorf("isAbsent(%s) = %t, want %t", name, got, test.absent)
		}
	}
}
