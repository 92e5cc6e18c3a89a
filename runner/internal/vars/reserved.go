package vars

import "strings"

// Reserved reports whether name belongs to the agent, so that no command of a
// step may set it (language §3.1).
func Reserved(name string) bool {
	name = fold(name)
	area, rest, _ := strings.Cut(name, ".")
	switch area {
	case "agent":
		return strings.HasPrefix(rest, "services.") || strings.HasPrefix(rest, "proxy") || reservedAgent[rest]
	case "build":
		return strings.HasPrefix(rest, "repository.") || strings.HasPrefix(rest, "gated.") || reservedBuild[rest]
	case "system":
		return reservedSystem[rest]
	case "release":
		return rest != ""
	}
	return name == "common.testresultsdirectory" || name == "pipeline.workspace"
}

func names(text string) map[string]bool {
	set := make(map[string]bool)
	for name := range strings.FieldsSeq(text) {
		set[name] = true
	}
	return set
}

var (
	reservedAgent = names(`accepteeeula acceptteeeula builddirectory ca.certificate cainfo clean.builddirectory
		clientcert clientcertkey clientcertpassword clientcertprivatekey clientcertarchive cloudid containerid containermapping diagnostic
		homedirectory id isselfhosted jobname jobstatus machinename name os osarchitecture osversion
		rootdirectory runmode serveromdirectory skipcertvalidation source.git.lfs
		source.git.shallowfetchdepth source.skip sslcainfo sslclientcert sslclientcertarchive
		sslclientcertkey sslskipcertvalidation tempdirectory toolsdirectory version workfolder`)
	reservedBuild = names(`artifactstagingdirectory binariesdirectory buildnumber clean definitionname
		sourcebranch sourceversion sourceversionauthor sourceversionmessage sourcesdirectory
		stagingdirectory syncsources`)
	reservedSystem = names(`accesstoken artifactsdirectory collectionid collectionuri culture debug
		defaultworkingdirectory definitionid definitionname enableaccesstoken hosttype isazurevm
		isdockercontainer jobattempt jobdisplayname jobid jobidentifier jobname phaseattempt
		phasedisplayname phaseid phasename planid selfmanagegitcreds servertype stageattempt
		stagedisplayname stageid stagename taskdefinitionsuri taskdisplayname taskinstanceid
		taskinstancename teamfoundationcollectionuri teamfoundationserveruri teamproject teamprojectid
		timelineid workfolder`)
)
