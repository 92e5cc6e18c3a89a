// Package emulator is an Azure DevOps that fits in a process: the server side
// of the agent protocol as an [http.Handler] with real state. It keeps pools,
// agents, sessions, encrypted messages, request locks, plans, timelines, feeds,
// logs, attachments and builds; it verifies every signature, key, lock and
// order, and refuses what a server would refuse.
//
// One use of it: [New] makes a [Server]; [Server.Serve] answers on a listener
// and runs the clock that expires sessions and locks; [Server.Queue] or the
// control calls under /_emulator hand it a job; an agent takes the job over the
// wire; [Server.Report] tells what became of it. A call in a wrong order is
// refused and kept in [Server.Violations]; [Server.Fail] makes calls go wrong that
// are in order.
//
// It was written from the protocol document and shares no code with the client;
// section numbers in comments and refusals are the document's.
package emulator
