package imagebuild

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
)

// capSubrequests is what a frontend must have to reply anything but a build.
const capSubrequests = "moby.buildkit.frontend.subrequests+forward"

// Reply is what a frontend says of a Dockerfile without building it.
type Reply struct {
	Text   []byte // for people
	JSON   []byte // for programs, in the form of BuildKit's subrequests
	Status int    // exit status that the frontend suggests; a check that found something has 1
}

// Query asks the frontend a question about r's Dockerfile, for example "lint",
// "outline" or "targets". Nothing is built, and no output of r is written.
//
// Its errors are those of [Builder.Build].
func (b *Builder) Query(ctx context.Context, r Request, question string, p Progress) (_ *Reply, err error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	w, err := b.newWork(ctx, &r)
	if err != nil {
		return nil, err
	}
	defer w.release()
	if w.display, err = p.start(ctx); err != nil {
		return nil, err
	}
	s, err := w.newSolver(ctx, 0, 0, w.shares[0].share)
	defer func() {
		if closeErr := s.close(); err == nil {
			err = closeErr
		}
	}()
	if err != nil {
		return nil, errors.Join(err, w.display.close())
	}
	reply, err := s.query(ctx, question)
	if closeErr := w.display.close(); err == nil && closeErr != nil {
		err = fmt.Errorf("showing progress: %w", closeErr)
	}
	return reply, err
}

func (s *solver) query(ctx context.Context, question string) (*Reply, error) {
	opt, err := s.options(nil)
	if err != nil {
		return nil, err
	}
	request := gateway.SolveRequest{Frontend: opt.Frontend, FrontendOpt: opt.FrontendAttrs, FrontendInputs: make(map[string]*pb.Definition)}
	for name, state := range opt.FrontendInputs {
		def, err := state.Marshal(ctx)
		if err != nil {
			return nil, fmt.Errorf("asking the frontend: %w", err)
		}
		request.FrontendInputs[name] = def.ToPB()
	}
	if caps := request.FrontendOpt["frontend.caps"]; caps != "" {
		request.FrontendOpt["frontend.caps"] = caps + "," + capSubrequests
	} else {
		request.FrontendOpt["frontend.caps"] = capSubrequests
	}
	request.FrontendOpt["requestid"] = "frontend." + question
	opt.Frontend, opt.FrontendInputs, opt.Internal = "", nil, true

	statuses := make(chan *client.SolveStatus)
	seen := make(chan struct{})
	go func() {
		defer close(seen)
		for st := range statuses {
			s.display.show(st)
		}
	}()
	var meta map[string][]byte
	_, err = s.client.Build(ctx, opt, "dockless", func(ctx context.Context, c gateway.Client) (*gateway.Result, error) {
		result, err := c.Solve(ctx, request)
		if err == nil {
			meta = result.Metadata
		}
		return result, err
	}, statuses)
	<-seen
	if err != nil {
		return nil, failure(ctx, err, s.node, s.dockerfileName())
	}
	reply := &Reply{Text: meta["result.txt"], JSON: meta["result.json"]}
	if text := meta["result.statuscode"]; len(text) > 0 {
		if reply.Status, err = strconv.Atoi(string(text)); err != nil {
			return nil, fmt.Errorf("asking the frontend: its status %q is no number", text)
		}
	}
	return reply, nil
}
