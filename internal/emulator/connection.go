package emulator

import (
	"net/http"
	"strconv"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

type identity struct {
	ID       string `json:"id"`
	Name     string `json:"providerDisplayName"`
	IsActive bool   `json:"isActive"`
}

// getConnectionData proves a credential (§1.2). Locations are published through
// OPTIONS, so there are no service definitions.
func (s *Server) getConnectionData(c *call) (any, error) {
	who := identity{ID: s.instance, Name: c.who.name(), IsActive: true}
	return map[string]any{
		"authenticatedUser": who, "authorizedUser": who,
		"instanceId": s.instance, "deploymentId": s.instance, "deploymentType": "hosted",
		"locationServiceData": map[string]any{
			"serviceOwner": serviceOwner, "defaultAccessMappingMoniker": "PublicAccessMapping",
			"accessMappings": []map[string]any{{
				"displayName": "Public Access Mapping", "moniker": "PublicAccessMapping", "accessPoint": base(c.r) + "/",
				"serviceOwner": serviceOwner, "virtualDirectory": "",
			}},
			"lastChangeId": 101, "lastChangeId64": 101, "clientCacheFresh": false, "clientCacheTimeToLive": 3600,
			"serviceDefinitions": []any{},
		},
		"webApplicationRelativeDirectory": "",
	}, nil
}

// releaseArea is the area of releases (§9.3).
const releaseArea = "efc2f575-36ef-48e9-b672-0c6fb4a48ac5"

// getResourceAreas answers that nothing lives elsewhere (§1.4). Only of releases it
// says where they are, because that is asked for by id.
func (s *Server) getResourceAreas(c *call) (any, error) {
	if id := c.v("areaId"); guid(id) == releaseArea {
		return map[string]string{"id": releaseArea, "name": "Release", "locationUrl": base(c.r) + "/"}, nil
	} else if id != "" {
		return nil, refuse(http.StatusNotFound, "VssResourceNotFoundException", "The area %s has no host of its own.", id)
	}
	return listOf[any](nil), nil
}
