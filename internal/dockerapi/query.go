package dockerapi

import (
	"fmt"
	"net/http"
	"net/url"
)

// judged are the parameters that are looked at here, as Podman's documentation
// spells them. The value says whether one may have several values.
var judged = map[string]bool{
	"all": false, "container": false, "containers": true, "filters": false, "follow": false, "force": false, "fromImage": false, "images": true,
	"import": false, "networkmode": false, "platform": true, "tag": false, "tlsVerify": false, "v": false, "volumes": true,
}

// parseQuery reads the parameters of a request. Podman finds them in whatever case
// they are written, and takes the last value of several, so a request that it could
// read in another way than we do is refused; what is sent on is what was judged.
func parseQuery(raw string) (url.Values, error) {
	given, err := url.ParseQuery(raw)
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, "the query cannot be read"}
	}
	canonical := make(map[string]string, len(judged))
	for name := range judged {
		canonical[fold(name)] = name
	}
	query := make(url.Values, len(given))
	spelled := make(map[string]bool, len(given))
	for name, values := range given {
		folded := fold(name)
		if spelled[folded] {
			return nil, &refusal{http.StatusBadRequest, fmt.Sprintf("the query names %q in two spellings", name)}
		}
		spelled[folded] = true
		if known, ok := canonical[folded]; ok {
			name = known
			for _, value := range values[1:] {
				if !judged[name] && value != values[0] {
					return nil, &refusal{http.StatusBadRequest, fmt.Sprintf("the query gives %q two values", name)}
				}
			}
		}
		query[name] = values
	}
	return query, nil
}
