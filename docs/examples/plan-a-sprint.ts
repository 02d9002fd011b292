// Plan a sprint with the TypeScript client: a project, a person, three tasks, a sprint.
//
// npm init -y && npm pkg set type=module
// npm pack …/gen/typescript
// npm install ./dsm-client-0.1.0.tgz @connectrpc/connect@2.1.2 @connectrpc/connect-node@2.1.2
// npm install --save-dev typescript@5 @types/node@20
// npx tsc --strict --module nodenext --target es2022 plan-a-sprint.ts
// node plan-a-sprint.js localhost:7600

import { randomUUID } from "node:crypto";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { BacklogService } from "dsm-client/dsm/backlog/v1/backlog_service_pb";
import { ProjectService } from "dsm-client/dsm/project/v1/project_service_pb";
import { SprintService } from "dsm-client/dsm/sprint/v1/sprint_service_pb";
import { ErrorInfoSchema } from "dsm-client/google/rpc/error_details_pb";

const target = process.argv[2] ?? "localhost:7600";
const suffix = randomUUID().slice(0, 6).toUpperCase();
const [projectId, employeeId] = [`EX-${suffix}`, `E-${suffix}`];

// DSM speaks gRPC over HTTP/2 without TLS.
const transport = createGrpcTransport({ baseUrl: `http://${target}` });
const projects = createClient(ProjectService, transport);
const backlogs = createClient(BacklogService, transport);
const sprints = createClient(SprintService, transport);

// A requestId makes a mutation safe to repeat: the same id and body gets the first answer.
await projects.createProject(
  { project: { projectId, name: "Example", timeZone: "Europe/Berlin" }, requestId: randomUUID() },
  { timeoutMs: 5000 },
);
await projects.createEmployee({ employee: { employeeId, name: "Ada Example" } });
await projects.assignTeamMembers({ projectId, assignments: [{ employeeId }] });
await backlogs.batchCreateTasks({
  projectId,
  tasks: ["Design", "Build", "Ship"].map((title) => ({ title, points: 2 })),
});
const answer = await sprints.startSprint({ projectId });
console.log(`${answer.sprint?.sprintId}: ${answer.assignedTasksCount} tasks, ${answer.limitBasis}`);

// A refused call carries one ErrorInfo; branch on its reason, never on the message.
try {
  await sprints.startSprint({ projectId });
} catch (error) {
  const refused = ConnectError.from(error);
  for (const info of refused.findDetails(ErrorInfoSchema)) {
    console.log(`${Code[refused.code]}: ${info.reason}`, info.metadata);
  }
}
