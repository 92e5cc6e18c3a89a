package statuspage

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// PageLines is how many lines of a log one page shows: what browsers of phones lay
// out at once, and renders within milliseconds.
const PageLines = 1000

const (
	// liveLines is how much of the log of a running step its job's page shows, before
	// the script adds more: what fits without it.
	liveLines = 24
	// tailLines is how much of a log the first page shows of each of mostRunning jobs.
	tailLines, mostRunning = 14, 6
	// recentJobs is how many jobs the first page lists, mostJobs how many the list
	// of all.
	recentJobs, mostJobs = 25, 2000
	// refreshSeconds is how often a page without JavaScript loads itself again.
	refreshSeconds = 10
)

//go:embed assets/status.css assets/status.js assets/icon.svg
var assets embed.FS

//go:embed templates/*.html
var texts embed.FS

// Page serves the status page. Make it with [New].
type Page struct {
	source    Source
	access    Config
	ended     <-chan struct{}
	streams   chan struct{} // has an element for each stream that is open
	templates *template.Template
	mux       *http.ServeMux
	now       func() time.Time
}

// New returns the page of a source. When ended is closed, open streams end, which
// the end of a server waits for.
func New(source Source, access Config, ended <-chan struct{}) *Page {
	p := &Page{source: source, access: access, ended: ended, streams: make(chan struct{}, mostStreams), mux: http.NewServeMux(), now: time.Now}
	css, js := asset("assets/status.css"), asset("assets/status.js")
	p.templates = template.Must(template.New("").Funcs(template.FuncMap{
		"css": func() string { return css.path }, "js": func() string { return js.path },
		"duration": duration, "seconds": seconds, "since": since, "percent": percent, "plural": plural,
		"badge": badgeOf, "clock": clock, "stamp": stamp, "bar": barOf, "width": width,
		"logs": func(l Log) template.HTML { return template.HTML(appendLog(nil, l)) },   //nolint:gosec // it escapes
		"ends": func(l Log) template.HTML { return template.HTML(appendPlain(nil, l)) }, //nolint:gosec // it escapes
	}).ParseFS(texts, "templates/*.html"))
	p.mux.HandleFunc("GET /{$}", p.overview)
	p.mux.HandleFunc("GET /jobs", p.jobs)
	p.mux.HandleFunc("GET /jobs/{job}", p.job)
	p.mux.HandleFunc("GET /jobs/{job}/log/{step}", p.log)
	p.mux.HandleFunc("GET /events", p.events)
	for _, a := range []served{css, js, asset("assets/icon.svg")} {
		p.mux.Handle("GET "+a.path, a)
	}
	p.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		p.render(w, r, http.StatusNotFound, "missing", view{Title: "Not found", Missing: "There is no page at this address."})
	})
	return p
}

// Serves reports whether path is one of the page's own, for servers that have
// others.
func Serves(path string) bool {
	return path == "/" || path == "/jobs" || path == "/events" || strings.HasPrefix(path, "/jobs/") || strings.HasPrefix(path, "/status/")
}

// ServeHTTP answers GET and HEAD to those who may look.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if refused := p.access.refuse(r); refused != nil {
		p.render(w, r, refused.code, "refused", view{Title: "Not shown", Missing: refused.text})
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "the status page is read-only", http.StatusMethodNotAllowed)
		return
	}
	p.mux.ServeHTTP(w, r)
}

// policy allows what the page brings itself, and nothing inline: text of a log
// that got through as markup would still run nothing and load nothing.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// served is a file with the digest of its content in its name.
type served struct {
	path, kind string
	content    []byte
}

// asset reads an embedded file.
func asset(name string) served {
	content, err := assets.ReadFile(name)
	if err != nil {
		panic("statuspage: an embedded file is not there: " + err.Error())
	}
	sum := sha256.Sum256(content)
	suffix := path.Ext(name)
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	at := "/status/icon.svg" // browsers remember it by this name
	if suffix != ".svg" {
		at = "/status/" + hex.EncodeToString(sum[:6]) + suffix
	}
	return served{path: at, kind: kinds[suffix], content: content}
}

func (s served) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", s.kind)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.content))
}

func (p *Page) overview(w http.ResponseWriter, r *http.Request) {
	v := p.overviewOf(r)
	p.render(w, r, http.StatusOK, "overview", v)
}

func (p *Page) overviewOf(r *http.Request) view {
	o := p.source.Overview(r.Context(), recentJobs)
	v := view{Title: o.Name, Overview: o, Refresh: refreshSeconds, Events: "/events"}
	shown := min(len(o.Running), mostRunning)
	v.MoreRunning = len(o.Running) - shown
	for _, j := range o.Running[:shown] {
		now := running{Job: j}
		if whole, ok := p.source.Job(j.ID); ok {
			now.Job = whole
		}
		if now.Live = liveStep(&now.Job); now.Live != nil {
			now.Tail, _ = p.source.Log(j.ID, now.Live.ID, 0, tailLines)
		}
		v.Running = append(v.Running, now)
	}
	return v
}

// liveStep is the step that runs and has a log; of several the one that began last.
func liveStep(j *Job) *Step {
	for i := range slices.Backward(j.Steps) {
		if s := &j.Steps[i]; s.State == "inProgress" && s.HasLog {
			return s
		}
	}
	return nil
}

func (p *Page) jobs(w http.ResponseWriter, r *http.Request) {
	p.render(w, r, http.StatusOK, "jobs", view{Title: "All jobs", Overview: p.source.Overview(r.Context(), mostJobs), Refresh: refreshSeconds})
}

func (p *Page) job(w http.ResponseWriter, r *http.Request) {
	v, ok := p.jobOf(r.PathValue("job"), true)
	if !ok {
		p.render(w, r, http.StatusNotFound, "missing", view{Title: "Not found", Missing: gone})
		return
	}
	p.render(w, r, http.StatusOK, "job", v)
}

const gone = "This job, or this log, is not known here, or no longer: only the last ones are kept. Azure DevOps has all of them."

// jobOf makes the page of a job; with log, the end of the running step's is there.
func (p *Page) jobOf(id string, log bool) (view, bool) {
	j, ok := p.source.Job(id)
	if !ok {
		return view{}, false
	}
	v := view{Title: j.Name, Job: j}
	if !j.Open() {
		return v, true
	}
	v.Refresh, v.Events = refreshSeconds, "/events?job="+escapePath(j.ID)
	if v.Live = liveStep(&j); v.Live != nil {
		v.Events += "&step=" + escapePath(v.Live.ID)
		if log {
			v.Log, _ = p.source.Log(j.ID, v.Live.ID, 0, liveLines)
			v.Events += "&from=" + strconv.Itoa(v.Log.end())
		}
	}
	return v, true
}

func (p *Page) log(w http.ResponseWriter, r *http.Request) {
	from := 0
	if text := r.URL.Query().Get("from"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			p.render(w, r, http.StatusBadRequest, "missing", view{Title: "Not found", Missing: "from= takes the number of a line, 1 or more."})
			return
		}
		from = n
	}
	v, ok := p.logOf(r.PathValue("job"), r.PathValue("step"), from)
	if !ok {
		p.render(w, r, http.StatusNotFound, "missing", view{Title: "Not found", Missing: gone})
		return
	}
	p.render(w, r, http.StatusOK, "log", v)
}

func (p *Page) logOf(job, step string, from int) (view, bool) {
	j, ok := p.source.Job(job)
	if !ok {
		return view{}, false
	}
	l, ok := p.source.Log(job, step, from, PageLines)
	if !ok {
		return view{}, false
	}
	v := view{Job: j, Log: l, Step: Step{ID: step, Name: "Log"}}
	for _, s := range j.Steps {
		if s.ID == step {
			v.Step = s
		}
	}
	v.Title = v.Step.Name + " · " + j.Name
	v.Window = window{
		Base: "/jobs/" + escapePath(j.ID) + "/log/" + escapePath(step), First: l.First, Last: l.end() - 1,
		Beginning: l.First <= l.Kept, Following: l.end() > l.Total,
	}
	if !v.Window.Beginning {
		v.Window.Previous = max(l.Kept, min(l.First, l.Total+1)-PageLines)
	}
	if !v.Window.Following {
		v.Window.Next = l.end()
	}
	if l.Open && v.Window.Following {
		v.Refresh = refreshSeconds
		v.Events = "/events?job=" + escapePath(j.ID) + "&step=" + escapePath(step) + "&from=" + strconv.Itoa(l.end()) + "&only=log"
	}
	return v, true
}

// render writes a page whole, so that an error is none of half a page.
func (p *Page) render(w http.ResponseWriter, r *http.Request, code int, name string, v view) {
	v.Now = p.now()
	if r.URL.Query().Has("still") {
		v.Refresh = 0
	} else if v.Refresh > 0 {
		q := r.URL.Query()
		q.Set("still", "1")
		v.Still = r.URL.Path + "?" + q.Encode()
	}
	var body bytes.Buffer
	if err := p.templates.ExecuteTemplate(&body, name+".html", v); err != nil {
		panic("statuspage: a template does not fit its values: " + err.Error())
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(code)
	_, _ = w.Write(body.Bytes()) // a reader that went away misses nothing
}
