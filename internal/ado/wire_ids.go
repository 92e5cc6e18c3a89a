package ado

// LocationID names a resource for route discovery (protocol Appendix A).
type LocationID string

// The resources an agent uses. Their routes come from the server's answer to
// OPTIONS _apis.
const (
	LocationConnectionData  LocationID = "00d9565f-ed9c-4a06-9a50-00e7896ccab4"
	LocationResourceAreas   LocationID = "e81700f7-3be2-46de-8624-2eb35882fcaa"
	LocationPools           LocationID = "a8c47e17-4d56-4a56-92bb-de7ea7dc65be"
	LocationAgents          LocationID = "e298ef32-5878-4cab-993c-043836571f42"
	LocationSessions        LocationID = "134e239e-2df3-4794-a6f6-24f1f19ec8dc"
	LocationMessages        LocationID = "c3a054f6-7a8a-49c0-944e-3a8e5d7adfd7"
	LocationJobRequests     LocationID = "fc825784-c92a-4299-9221-998a02d1b54f"
	LocationAgentUpdates    LocationID = "8cc1b02b-ae49-4516-b5ad-4f9b29967c30"
	LocationPackages        LocationID = "8ffcd551-079c-493a-9c02-54346299d144"
	LocationTasks           LocationID = "60aac929-f0cd-4bc8-9ce4-6b30e8f1b1bd"
	LocationPlans           LocationID = "5cecd946-d704-471e-a45f-3b4064fcfaba"
	LocationPlanEvents      LocationID = "557624af-b29e-4c20-8ab0-0399d2204f3f"
	LocationLogs            LocationID = "46f5667d-263a-4684-91b1-dff7fdcf64e2"
	LocationTimelines       LocationID = "83597576-cc2c-453c-bea6-2882ae6a1653"
	LocationRecords         LocationID = "8893bc5b-35b2-4be7-83cb-99e683551db4"
	LocationFeed            LocationID = "858983e4-19bd-4c5e-864c-507b59b58b12"
	LocationAttachments     LocationID = "7898f959-9cdf-4096-b29e-7f293031629e"
	LocationPlanAttachments LocationID = "eb55e5d6-2f30-4295-b5ed-38da50b1fc52"
	LocationOIDCToken       LocationID = "69a319f4-28c1-4bfd-93e6-ea0ff5c6f1a2" //nolint:gosec // an id, no token
	LocationContainers      LocationID = "e4f5c81e-e250-447b-9fef-bd48471bea5e"
	LocationBuildArtifacts  LocationID = "1db06c96-014e-44e1-ac91-90b2d4b3e984"
	LocationBuilds          LocationID = "0cd358e1-9217-4d94-8269-1c1ee6f93dcf"
	LocationBuildTags       LocationID = "6e6114b2-8161-44c8-8f6c-c5505782427f"
	// LocationReleases is the id of releases in the Release area of
	// github.com/microsoft/azure-devops-go-api (azuredevops/v7/release/client.go).
	LocationReleases LocationID = "a166fde7-27ad-408e-ba75-703c2cc9d500"
)

// TypeKey is the service's name for the kind of an error. Clients branch on it,
// never on the status code (protocol §1.8).
type TypeKey string

// The kinds of error.
const (
	KeyPoolNotFound          TypeKey = "TaskAgentPoolNotFoundException"
	KeyAgentNotFound         TypeKey = "TaskAgentNotFoundException"
	KeyAgentExists           TypeKey = "TaskAgentExistsException"
	KeySessionConflict       TypeKey = "TaskAgentSessionConflictException"
	KeySessionExpired        TypeKey = "TaskAgentSessionExpiredException"
	KeyAccessTokenExpired    TypeKey = "TaskAgentAccessTokenExpiredException"
	KeyJobNotFound           TypeKey = "TaskAgentJobNotFoundException"
	KeyJobTokenExpired       TypeKey = "TaskAgentJobTokenExpiredException"
	KeyPendingUpdateNotFound TypeKey = "TaskAgentPendingUpdateNotFoundException"
	KeyAccessDenied          TypeKey = "AccessDeniedException"
	KeyUnauthorized          TypeKey = "VssUnauthorizedException"
	KeyPlanNotFound          TypeKey = "TaskOrchestrationPlanNotFoundException"
	KeyPlanSecurity          TypeKey = "TaskOrchestrationPlanSecurityException"
	KeyPlanTerminated        TypeKey = "TaskOrchestrationPlanTerminatedException"
	KeyPlanJobNotFound       TypeKey = "TaskOrchestrationJobNotFoundException"
	KeyTimelineNotFound      TypeKey = "TimelineNotFoundException"
	KeyRecordNotFound        TypeKey = "TimelineRecordNotFoundException"
	KeyTimelineExists        TypeKey = "TimelineExistsException"
	KeyTaskNotFound          TypeKey = "TaskDefinitionNotFoundException"
	KeyPackageNotFound       TypeKey = "PackageNotFoundException"
)
