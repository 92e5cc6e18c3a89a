package emulator

import (
	"fmt"
	"net/http"
)

// refusal is an answer other than success (§1.8). Clients branch on its key.
type refusal struct {
	status   int
	key      string
	message  string
	problems []problem // of a control call
}

func (r *refusal) Error() string { return r.message }

func refuse(status int, key, format string, args ...any) error {
	return &refusal{status: status, key: key, message: fmt.Sprintf(format, args...)}
}

// The keys of §1.8 that this server uses, with the suggested status.
func poolNotFound(id string) error {
	return refuse(http.StatusNotFound, "TaskAgentPoolNotFoundException", "There is no agent pool %s.", id)
}

func agentNotFound(id string) error {
	return refuse(http.StatusNotFound, "TaskAgentNotFoundException", "There is no agent %s in this pool.", id)
}

func sessionExpired(id string) error {
	return refuse(http.StatusForbidden, "TaskAgentSessionExpiredException", "The session %s has expired.", id)
}

func registrationRevoked() error {
	return refuse(http.StatusForbidden, "TaskAgentAccessTokenExpiredException", "The registration of this agent was removed.")
}

func requestNotFound(id string) error {
	return refuse(http.StatusNotFound, "TaskAgentJobNotFoundException", "There is no job request %s that is yours to change.", id)
}

func lockLost(id any) error {
	return refuse(http.StatusForbidden, "TaskAgentJobTokenExpiredException", "The lock of job request %v is no longer yours.", id)
}

func unauthorized(text string) error {
	return refuse(http.StatusUnauthorized, "VssUnauthorizedException", "%s", text)
}

func stopping() error {
	return refuse(http.StatusServiceUnavailable, "VssServiceException", "The server is stopping.")
}

func accessDenied(format string, args ...any) error {
	return refuse(http.StatusForbidden, "AccessDeniedException", format, args...)
}

func planNotFound(id string) error {
	return refuse(http.StatusNotFound, "TaskOrchestrationPlanNotFoundException", "There is no plan %s, or its job has ended.", id)
}

func planForbidden(format string, args ...any) error {
	return refuse(http.StatusForbidden, "TaskOrchestrationPlanSecurityException", format, args...)
}

func planJobNotFound(id string) error {
	return refuse(http.StatusNotFound, "TaskOrchestrationJobNotFoundException", "There is no job %s in this plan.", id)
}

func timelineNotFound(id string) error {
	return refuse(http.StatusNotFound, "TimelineNotFoundException", "There is no timeline %s in this plan.", id)
}

func recordNotFound(id string) error {
	return refuse(http.StatusNotFound, "TimelineRecordNotFoundException", "There is no record %s in this timeline.", id)
}

func tooLarge(limit int64) error {
	return refuse(http.StatusRequestEntityTooLarge, "VssRequestContentException", "The body is larger than %d bytes.", limit)
}

func badRequest(format string, args ...any) error {
	return refuse(http.StatusBadRequest, "VssRequestContentException", format, args...)
}

// OrderRefused is the typeKey with which calls in a wrong order are refused.
// The service has no single key for them; this one says what it means.
const OrderRefused = "WrongOrderException"
