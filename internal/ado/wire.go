package ado

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
)

// Identifiers of the pool's side have their own types so that the compiler
// catches a swap; those of the job's side are in package job. Zero is "none".
type (
	// PoolID names a group of agents.
	PoolID int
	// AgentID names one member of a pool.
	AgentID int
	// SessionID names the right of one process to receive an agent's messages.
	SessionID string
	// MessageID numbers the messages of an agent's queue, in order.
	MessageID int64
	// LogID numbers the stored logs of a plan.
	LogID int
)

// ZeroGUID is "no id": the session id of a session to be created, and the lock
// token of every renewal (protocol §4.1, §7.1).
const ZeroGUID = "00000000-0000-0000-0000-000000000000"

// List is how the service wraps every list that it answers with, and how
// timeline records are wrapped on their way to it (protocol §1.7, §7.3).
type List[T any] struct {
	Count int `json:"count"`
	Value []T `json:"value"`
}

// ListOf wraps values.
func ListOf[T any](values ...T) List[T] {
	if values == nil {
		values = []T{}
	}
	return List[T]{Count: len(values), Value: values}
}

// ConnectionData proves that a credential works and says what kind of server
// answers (protocol §1.2).
type ConnectionData struct {
	AuthenticatedUser   Identity            `json:"authenticatedUser"`
	AuthorizedUser      Identity            `json:"authorizedUser"`
	InstanceID          string              `json:"instanceId"`
	DeploymentID        string              `json:"deploymentId,omitempty"`
	DeploymentType      DeploymentType      `json:"deploymentType"`
	LocationServiceData LocationServiceData `json:"locationServiceData"`
}

// Identity is somebody the service knows.
type Identity struct {
	ID                  string `json:"id"`
	ProviderDisplayName string `json:"providerDisplayName,omitempty"`
	IsActive            bool   `json:"isActive,omitempty"`
}

// LocationServiceData is the part of [ConnectionData] that names addresses.
type LocationServiceData struct {
	ServiceOwner                string          `json:"serviceOwner,omitempty"`
	DefaultAccessMappingMoniker string          `json:"defaultAccessMappingMoniker,omitempty"`
	AccessMappings              []AccessMapping `json:"accessMappings"`
	LastChangeID                int             `json:"lastChangeId"`
	LastChangeID64              int64           `json:"lastChangeId64"`
	ClientCacheFresh            bool            `json:"clientCacheFresh"`
	ClientCacheTimeToLive       int             `json:"clientCacheTimeToLive"` // seconds
	ServiceDefinitions          []any           `json:"serviceDefinitions"`    // always empty here: routes come from OPTIONS
}

// AccessMapping is one address of the service.
type AccessMapping struct {
	DisplayName      string `json:"displayName"`
	Moniker          string `json:"moniker"`
	AccessPoint      string `json:"accessPoint"`
	ServiceOwner     string `json:"serviceOwner,omitempty"`
	VirtualDirectory string `json:"virtualDirectory"`
}

// ResourceLocation is one entry of the answer to OPTIONS _apis (protocol §1.3).
type ResourceLocation struct {
	ID              LocationID `json:"id"`
	Area            string     `json:"area"`
	ResourceName    string     `json:"resourceName"`
	RouteTemplate   string     `json:"routeTemplate"`
	ResourceVersion int        `json:"resourceVersion"`
	MinVersion      string     `json:"minVersion"`
	MaxVersion      string     `json:"maxVersion"`
	ReleasedVersion string     `json:"releasedVersion"`
}

// DeploymentType tells the cloud from a server in somebody's cellar.
type DeploymentType string

// The deployment types.
const (
	Hosted     DeploymentType = "hosted"
	OnPremises DeploymentType = "onPremises"
)

// UnmarshalJSON accepts the name in any case.
func (t *DeploymentType) UnmarshalJSON(data []byte) error {
	return unmarshalEnum(data, t, Hosted, OnPremises)
}

// unmarshalEnum reads an enumeration as the service may write it: a name in any
// case, or a number, which is 1 for the first of known (protocol §1.7, Appendix
// B). What is not known is kept as it came, because none of these decide
// anything by themselves.
func unmarshalEnum[T ~string](data []byte, to *T, known ...T) error {
	text := strings.Trim(string(data), `"`)
	if text == "null" {
		return nil
	}
	for i, k := range known {
		if strings.EqualFold(text, string(k)) || text == fmt.Sprint(i+1) {
			*to = k
			return nil
		}
	}
	var s string
	if json.Unmarshal(data, &s) != nil {
		s = text
	}
	*to = T(s)
	return nil
}

// ServiceError is the body of an answer that refuses (protocol §1.8).
type ServiceError struct {
	ID             string  `json:"$id,omitempty"`
	InnerException any     `json:"innerException"`
	Message        string  `json:"message"`
	TypeName       string  `json:"typeName"`
	TypeKey        TypeKey `json:"typeKey"`
	ErrorCode      int     `json:"errorCode"`
	EventID        int     `json:"eventId"`
}

// TokenAnswer is what the token endpoint grants (protocol §3.2). AccessToken is
// a secret; ExpiresIn is seconds, zero when the server does not say.
type TokenAnswer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type,omitempty"`
	ExpiresIn   int    `json:"expires_in,omitempty"`
	Scope       string `json:"scope,omitempty"`
}

// TokenRefusal is the token endpoint's answer of status 400. The description's
// name has no underscore on the wire; both are read.
type TokenRefusal struct {
	Error          string `json:"error"`
	Description    string `json:"errordescription"`
	DescriptionAlt string `json:"error_description,omitempty"`
}

// The form fields and the marker of the token endpoint (protocol §3.2, §3.4).
const (
	GrantClientCredentials = "client_credentials"
	AssertionTypeJWT       = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	ClockSkewMarker        = "Current server time is"
)

// PlanReference is the route to everything that belongs to one plan (protocol §7).
type PlanReference struct {
	ScopeIdentifier string
	HubName         string // the plan's type
	PlanID          job.PlanID
}
