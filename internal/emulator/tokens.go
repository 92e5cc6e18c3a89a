package emulator

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/dockless-ci/dockless/internal/mask"
)

// Token is a personal access token besides [Config.PAT], which opens everything:
// one that an administrator made with too little, for clients to be shown what
// they will meet. It opens what its scope names, in the pools in which its owner
// has a role (§1.11).
type Token struct {
	Secret mask.Secret
	Scope  Scope
	Roles  map[string]Role // by the name of a pool; in one without, the owner has none
}

// Scope is what a personal access token may be used for, whatever its owner may.
type Scope string

// The scopes that agents know (§1.11). What another one opens is of no concern here.
const (
	ScopeOther  Scope = ""                      // some other, such as that of code
	ScopeRead   Scope = "vso.agentpools"        // Agent Pools (read)
	ScopeManage Scope = "vso.agentpools_manage" // Agent Pools (read & manage)
)

// Role is what somebody may do in a pool.
type Role string

// The roles, by the names that the service shows.
const (
	RoleNone          Role = ""
	RoleReader        Role = "Reader"
	RoleAdministrator Role = "Administrator"
)

// check reports what is wrong with the token, beside others.
func (t Token) check(c Config, problem func(format string, args ...any)) {
	if t.Secret.IsZero() || t.Secret.Equal(c.PAT) {
		problem("a further personal access token is empty or the first one")
	}
	if !slices.Contains([]Scope{ScopeOther, ScopeRead, ScopeManage}, t.Scope) {
		problem("%q is no scope that this server knows", t.Scope)
	}
	for name, role := range t.Roles {
		if !slices.Contains(c.Pools, name) || !slices.Contains([]Role{RoleNone, RoleReader, RoleAdministrator}, role) {
			problem("there is no pool %q or no role %q", name, role)
		}
	}
}

// checkScope refuses what the caller's token is not for. The service looks at the
// scope before it looks for anything else, and answers as to a token that it does
// not know: 401 with this key, which was seen in the wild
// (microsoft/azure-pipelines-tasks, issue 11559) [I]. That connection data is open
// to every scope is inferred too [I].
func (c *call) checkScope() error {
	t := c.who.limits
	if t == nil || c.where.resource == "connectionData" || c.where.resource == "resourceAreas" {
		return nil
	}
	pools := c.where.area == "distributedtask" && c.v("planId") == ""
	switch {
	case pools && t.Scope == ScopeManage, pools && t.Scope == ScopeRead && c.r.Method == http.MethodGet:
		return nil
	}
	return refuse(http.StatusUnauthorized, "UnauthorizedRequestException", "TF400813: %s is not authorized to access this resource.", c.who.name())
}

// sees reports whether the caller may look at a pool: of others it learns nothing,
// not even that they exist [I].
func (c caller) sees(p *pool) bool {
	return c.limits == nil || c.limits.Roles[p.configured] != RoleNone
}

// checkRole refuses to let a pool be changed by somebody who is not its
// administrator [I].
func (c *call) checkRole(p *pool) error {
	switch {
	case !c.who.sees(p):
		return poolNotFound(fmt.Sprint(p.id))
	case c.who.limits == nil, c.r.Method == http.MethodGet, c.who.limits.Roles[p.configured] == RoleAdministrator:
		return nil
	}
	return accessDenied("%s lacks the permission to manage pool %s.", c.who.name(), p.name)
}
