package ado

import (
	"encoding/json"

	"github.com/dockless-ci/dockless/internal/job"
)

// Pool is a named group of agents (protocol §2.1).
type Pool struct {
	ID       PoolID   `json:"id"`
	Name     string   `json:"name"`
	Scope    string   `json:"scope,omitempty"`
	PoolType PoolType `json:"poolType,omitempty"`
	IsHosted bool     `json:"isHosted"`
	Size     int      `json:"size"`
}

// PoolType tells pools of agents from pools of deployment targets.
type PoolType string

// The pool types.
const (
	Automation PoolType = "automation"
	Deployment PoolType = "deployment"
)

// UnmarshalJSON accepts the name in any case and the number.
func (t *PoolType) UnmarshalJSON(data []byte) error {
	return unmarshalEnum(data, t, Automation, Deployment)
}

// TaskAgent is one registered member of a pool (protocol §2.4). A zero member
// is left out of a request.
type TaskAgent struct {
	ID                 AgentID             `json:"id,omitempty"`
	Name               string              `json:"name"`
	Version            string              `json:"version"`
	OSDescription      string              `json:"osDescription,omitempty"`
	Enabled            *bool               `json:"enabled,omitempty"` // nil: as it was, or true for a new agent
	Status             AgentStatus         `json:"status,omitempty"`  // owned by the service
	ProvisioningState  string              `json:"provisioningState,omitempty"`
	MaxParallelism     int                 `json:"maxParallelism,omitempty"` // 1 for this protocol
	Authorization      *AgentAuthorization `json:"authorization,omitempty"`
	SystemCapabilities map[string]string   `json:"systemCapabilities,omitempty"`
	UserCapabilities   map[string]string   `json:"userCapabilities,omitempty"` // set by people, never by the agent
	CreatedOn          job.Time            `json:"createdOn,omitzero"`
	StatusChangedOn    job.Time            `json:"statusChangedOn,omitzero"`
	AssignedRequest    *JobRequest         `json:"assignedRequest,omitempty"`
	Properties         map[string]Property `json:"properties,omitempty"`
}

// Property is one value of an agent's property bag.
type Property struct {
	Type  string `json:"$type,omitempty"`
	Value any    `json:"$value"`
}

// UnmarshalJSON also accepts a bare value.
func (p *Property) UnmarshalJSON(data []byte) error {
	type plain Property
	if err := json.Unmarshal(data, (*plain)(p)); err == nil {
		return nil
	}
	return json.Unmarshal(data, &p.Value)
}

// PropertyServerURL names the address that an agent is told to use from its
// registration on (protocol §1.1).
const PropertyServerURL = "ServerUrl"

// ServerURL returns the address to use from registration on: configured, or its
// scheme, host and port with the path that the server named.
func (a TaskAgent) ServerURL(configured string) string {
	if p, ok := job.Lookup(a.Properties, PropertyServerURL); ok {
		if address, ok := p.Value.(string); ok && address != "" {
			return AtConfiguredHost(address, configured)
		}
	}
	return configured
}

// AgentStateProvisioned is the provisioning state of a self-hosted agent.
const AgentStateProvisioned = "Provisioned"

// AgentStatus says whether an agent has a live session.
type AgentStatus string

// The agent states.
const (
	Offline AgentStatus = "offline"
	Online  AgentStatus = "online"
)

// UnmarshalJSON accepts the name in any case and the number.
func (s *AgentStatus) UnmarshalJSON(data []byte) error {
	return unmarshalEnum(data, s, Offline, Online)
}

// AgentAuthorization carries the agent's key to the service, and the client id
// and token address back.
type AgentAuthorization struct {
	ClientID         string     `json:"clientId,omitempty"`
	AuthorizationURL string     `json:"authorizationUrl,omitempty"` // audience of assertions, used verbatim
	PublicKey        *PublicKey `json:"publicKey,omitempty"`
}

// PublicKey is an RSA key as two unsigned big-endian numbers, base64 on the wire
// (protocol §2.2).
type PublicKey struct {
	Exponent []byte `json:"exponent"`
	Modulus  []byte `json:"modulus"`
}

// AgentSession is a lease on an agent's identity (protocol §4.1).
type AgentSession struct {
	SessionID                SessionID         `json:"sessionId"`
	OwnerName                string            `json:"ownerName"`
	Agent                    TaskAgent         `json:"agent"`
	EncryptionKey            *SessionKey       `json:"encryptionKey,omitempty"`
	SystemCapabilities       map[string]string `json:"systemCapabilities,omitempty"`
	AgentCanHandleOaepSHA256 bool              `json:"agentCanHandleOaepSHA256,omitempty"`
}

// SessionKey is the AES key of a session's messages. Value is a secret when
// Encrypted is false.
type SessionKey struct {
	Encrypted         bool   `json:"encrypted"`
	Value             []byte `json:"value"`
	EncryptionPadding string `json:"encryptionPadding,omitempty"`
}

// Padding names a server may use in [SessionKey] (protocol §4.1).
const (
	PaddingOAEPSHA1   = "OaepSHA1"
	PaddingOAEPSHA256 = "OaepSHA256"
)

// Envelope is one message as it travels (protocol §5.1). Without IV the body is
// plain text, with it base64 of AES-CBC.
type Envelope struct {
	MessageID   MessageID `json:"messageId"`
	MessageType string    `json:"messageType"`
	IV          []byte    `json:"iv,omitempty"`
	Body        string    `json:"body"`
}

// The types of message, compared ignoring case (protocol §5.4).
const (
	MessageJobRequest      = job.MessageTypeRequest
	MessageJobRequestOld   = "JobRequest"
	MessageJobCancellation = "JobCancellation"
	MessageAgentRefresh    = "AgentRefresh"
	MessageJobMetadata     = "JobMetadataUpdate"
)

// Cancellation is the body of a message that cancels a job. Timeout is the
// service's time span, which [job.ParseSpan] reads.
type Cancellation struct {
	JobID   job.ID `json:"jobId"`
	Timeout string `json:"timeout"`
}

// Refresh is the body of a message that asks an agent to update itself.
type Refresh struct {
	AgentID       AgentID `json:"agentId"`
	Timeout       string  `json:"timeout"`
	TargetVersion string  `json:"targetVersion"`
}

// JobMetadata is the body of a message that changes how often live lines are sent.
type JobMetadata struct {
	JobID                    job.ID `json:"jobId"`
	PostLinesFrequencyMillis int    `json:"postLinesFrequencyMillis"`
}

// JobRequest is the pool's record of a job that waits for or is assigned to an
// agent (protocol §7.1, §11.2). Dates that are not set are left out, because
// autoscalers cannot read the service's "no date".
type JobRequest struct {
	RequestID       job.RequestID     `json:"requestId"`
	QueueTime       job.Time          `json:"queueTime,omitzero"`
	AssignTime      job.Time          `json:"assignTime,omitzero"`
	ReceiveTime     job.Time          `json:"receiveTime,omitzero"`
	FinishTime      job.Time          `json:"finishTime,omitzero"`
	Result          job.Result        `json:"result,omitempty"`
	LockedUntil     job.Time          `json:"lockedUntil,omitzero"`
	ServiceOwner    string            `json:"serviceOwner,omitempty"`
	HostID          string            `json:"hostId,omitempty"`
	ScopeID         string            `json:"scopeId,omitempty"`
	PlanType        string            `json:"planType,omitempty"`
	PlanID          job.PlanID        `json:"planId,omitempty"`
	PlanGroup       string            `json:"planGroup,omitempty"`
	JobID           job.ID            `json:"jobId,omitempty"`
	JobName         string            `json:"jobName,omitempty"`
	Demands         []string          `json:"demands,omitempty"`
	ReservedAgent   *TaskAgent        `json:"reservedAgent,omitempty"`
	MatchedAgents   []TaskAgent       `json:"matchedAgents,omitempty"`
	Definition      *job.Reference    `json:"definition,omitempty"`
	Owner           *job.Reference    `json:"owner,omitempty"`
	Data            map[string]string `json:"data,omitempty"`
	PoolID          PoolID            `json:"poolId,omitempty"`
	OrchestrationID string            `json:"orchestrationId,omitempty"`
	Priority        int               `json:"priority,omitempty"`
}
