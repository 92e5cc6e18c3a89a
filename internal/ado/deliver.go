package ado

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
)

// delivery is how far one page has come. Storing it takes two requests, to
// create a log and to append the page to it, and neither may be repeated blindly:
// an attempt that got no answer may have been carried out. Before the next one
// the server is asked what it has, so that every line is stored once.
type delivery struct {
	log    Log  // zero: none that we know of
	stored int  // bytes of the page that the log has
	unsure bool // the last request failed and may have been carried out
}

// upload makes one attempt to send one page or attachment. An attachment may be
// sent twice: the second replaces the first.
func (r *Reporter) upload(ctx context.Context, u *upload) error {
	if u.attachment != nil {
		if err := r.records.introduce(ctx, u.record); err != nil {
			return err
		}
		return r.client.Attach(ctx, u.record, u.attachment.Type, u.attachment.Name, bytesReader(u.attachment.Content))
	}
	d := &u.delivery
	if d.unsure {
		if err := r.settle(ctx, u); err != nil {
			return err
		}
		d.unsure = false
	}
	if d.log.ID == 0 {
		log, err := r.client.CreateLog(ctx, u.record)
		if err != nil {
			d.unsure = mayHaveArrived(err)
			return err
		}
		d.log = log
	}
	if d.stored < u.page.size {
		if err := r.client.AppendLog(ctx, d.log.ID, u.page.reader(d.stored)); err != nil {
			d.unsure = mayHaveArrived(err)
			return err
		}
	}
	u.owner.stored = d.log.ID
	r.records.add(job.Record{ID: u.record, Log: &job.LogReference{ID: int(d.log.ID), Location: d.log.Location}})
	return nil
}

// settle finds out what an attempt without an answer did. A server that does not
// list its logs gets the request again: better a line twice than none.
func (r *Reporter) settle(ctx context.Context, u *upload) error {
	all, err := r.client.Logs(ctx)
	if errors.Is(err, errNotOffered) {
		return nil
	}
	if err != nil {
		return err
	}
	d := &u.delivery
	for _, log := range all {
		switch {
		case d.log.ID == 0 && isNewLog(log, u):
			d.log = log
			return nil
		case d.log.ID != 0 && d.log.ID == log.ID:
			lines, end, err := u.page.count(log.LineCount)
			if err != nil {
				return err
			}
			if d.stored = end; log.LineCount >= lines {
				d.stored = u.page.size
			}
			return nil
		}
	}
	return nil
}

// isNewLog reports whether log is the one that a lost answer was about: empty,
// of this record, and made after the page before this one. Numbers grow.
func isNewLog(log Log, u *upload) bool {
	path := strings.ReplaceAll(log.Path, "/", `\`)
	return log.LineCount == 0 && log.ID > u.owner.stored && strings.EqualFold(path, LogPath(u.record))
}

// mayHaveArrived reports whether a request that failed with err may have been
// carried out. It was not when no connection was made, or when the answer says
// that the request was at fault; everything else may have come from something in
// between.
func mayHaveArrived(err error) bool {
	if status, ok := errors.AsType[*StatusError](err); ok {
		return status.Code/100 != 4 || status.Code == http.StatusRequestTimeout
	}
	dialing, ok := errors.AsType[*net.OpError](err)
	return !ok || dialing.Op != "dial"
}

// notOffered reports whether err says that a resource does not exist here.
func notOffered(err error) bool {
	status, ok := errors.AsType[*StatusError](err)
	if !ok {
		return errors.Is(err, errNotOffered)
	}
	return status.Code == http.StatusMethodNotAllowed || status.Code == http.StatusNotImplemented ||
		status.Code == http.StatusNotFound && status.Excerpt == "" && !errors.Is(err, ErrPlanGone)
}
