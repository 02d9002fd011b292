// Calls DSM through the TypeScript client as others would; the target is the first argument.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import {
  BacklogService,
  type ImportTasksRequest,
  ImportTasksRequestSchema,
  type WatchTasksResponse,
} from "dsm-client/dsm/backlog/v1/backlog_service_pb";
import { ImportFormat } from "dsm-client/dsm/backlog/v1/import_pb";
import { Priority, TaskState } from "dsm-client/dsm/backlog/v1/task_pb";
import { ErrorReason } from "dsm-client/dsm/common/v1/error_reason_pb";
import { ProjectService } from "dsm-client/dsm/project/v1/project_service_pb";
import { SprintService } from "dsm-client/dsm/sprint/v1/sprint_service_pb";
import { BadRequestSchema, ErrorInfoSchema } from "dsm-client/google/rpc/error_details_pb";

const transport = createGrpcTransport({ baseUrl: `http://${process.argv[2]}`, defaultTimeoutMs: 20_000 });
const projects = createClient(ProjectService, transport);
const backlogs = createClient(BacklogService, transport);
const sprints = createClient(SprintService, transport);

interface Refusal {
  code: string | undefined;
  reason: string;
  metadata: Record<string, string>;
  fields: string[];
}

/** What a call that must be refused said. */
async function refused(call: Promise<unknown>): Promise<Refusal> {
  const error = await call.then(
    () => assert.fail("the call was answered"),
    (reason: unknown) => ConnectError.from(reason),
  );
  return refusal(error);
}

function refusal(error: ConnectError): Refusal {
  const [info, ...more] = error.findDetails(ErrorInfoSchema);
  assert.ok(info, `${error} carries no ErrorInfo`);
  assert.equal(more.length, 0);
  assert.equal(info.domain, "dsm");
  assert.ok(info.reason in ErrorReason, `${info.reason} is published`);
  const fields = error.findDetails(BadRequestSchema).flatMap((bad) => bad.fieldViolations.map(({ field }) => field));
  return { code: Code[error.code], reason: info.reason, metadata: { ...info.metadata }, fields };
}

async function newProject(): Promise<string> {
  const projectId = `TS-${randomUUID().slice(0, 8).toUpperCase()}`;
  await projects.createProject({ project: { projectId, name: "Called from Node", timeZone: "Asia/Tokyo" } });
  return projectId;
}

test("a project is created and listed, page by page", async () => {
  const wanted = new Set([await newProject(), await newProject(), await newProject()]);
  let pageToken = "";
  do {
    const page = await projects.listProjects({ pageSize: 2, pageToken });
    assert.ok(page.projects.length <= 2);
    for (const { projectId } of page.projects) wanted.delete(projectId);
    pageToken = page.nextPageToken;
  } while (pageToken);
  assert.equal(wanted.size, 0);
});

test("a task comes back as it was sent", async () => {
  const projectId = await newProject();
  const sent = {
    projectId,
    title: "Größe prüfen \u{1F4CF}",
    points: 2.5,
    estimate: { seconds: 5400n, nanos: 0 },
    priority: Priority.HIGH,
    tags: ["ui", "node"],
    customFields: { squad: "blue" },
  };
  const { task: created } = await backlogs.createTask({ task: sent });
  assert.ok(created);
  const { task } = await backlogs.getTask({ taskId: created.taskId });
  assert.deepEqual(task, created);
  assert.equal(created.title, sent.title);
  assert.equal(created.points, 2.5);
  assert.equal(created.estimate?.seconds, 5400n);
  assert.equal(created.state, TaskState.UNASSIGNED);
  assert.deepEqual(created.tags, sent.tags);
  assert.deepEqual({ ...created.customFields }, sent.customFields);
  assert.equal(typeof created.rank, "bigint");
  assert.ok(created.createTime && Math.abs(timestampDate(created.createTime).getTime() - Date.now()) < 60_000);
});

test("an update changes what its mask names, and a stale etag is refused", async () => {
  const { task } = await backlogs.createTask({ task: { projectId: await newProject(), title: "First", points: 1 } });
  assert.ok(task);
  const { taskId, etag } = task;
  const update = { task: { taskId, title: "Second", points: 8, etag }, updateMask: { paths: ["title"] } };
  const { task: updated } = await backlogs.updateTask(update);
  assert.equal(updated?.title, "Second");
  assert.equal(updated?.points, 1);
  const { code, reason, metadata } = await refused(backlogs.updateTask(update));
  assert.deepEqual([code, reason, metadata["etag"]], ["Aborted", "ETAG_MISMATCH", etag]);
});

test("a repeated request id gets the first answer, another body is refused", async () => {
  const projectId = await newProject();
  const request = { task: { projectId, title: "Once" }, requestId: randomUUID() };
  const [first, second] = [await backlogs.createTask(request), await backlogs.createTask(request)];
  assert.deepEqual(second, first);
  const other = await refused(backlogs.createTask({ ...request, task: { projectId, title: "Twice" } }));
  assert.deepEqual([other.code, other.reason], ["InvalidArgument", "REQUEST_ID_REUSED"]);
});

test("refusals are typed", async () => {
  const projectId = await newProject();
  const twice = await refused(projects.createProject({ project: { projectId, name: "Again" } }));
  assert.deepEqual([twice.code, twice.reason], ["AlreadyExists", "PROJECT_ALREADY_EXISTS"]);
  assert.deepEqual(twice.metadata, { project_id: projectId });
  const wrong = await refused(backlogs.createTask({ task: { projectId, title: "x", points: -1 } }));
  assert.deepEqual([wrong.code, wrong.reason, wrong.fields], ["InvalidArgument", "VALIDATION_FAILED", ["task.points"]]);
  const missing = await refused(sprints.getSprint({ sprintId: `${projectId}-S01` }));
  assert.deepEqual([missing.code, missing.reason], ["NotFound", "SPRINT_NOT_FOUND"]);
});

test("a file is imported as a stream of its bytes", async () => {
  const projectId = await newProject();
  const file = new TextEncoder().encode("No;Was\n1;Größe prüfen\n2;Farbe prüfen\n3;\n");
  const columnMapping = { key: "No", title: "Was" };
  async function* messages(): AsyncGenerator<ImportTasksRequest> {
    const options = { projectId, format: ImportFormat.MAPPED_CSV, columnMapping, originSystem: "node" };
    yield create(ImportTasksRequestSchema, { content: { case: "options", value: options } });
    // Cut in the middle of a letter, on purpose.
    for (let at = 0; at < file.length; at += 11) {
      yield create(ImportTasksRequestSchema, { content: { case: "data", value: file.subarray(at, at + 11) } });
    }
  }
  const { report } = await backlogs.importTasks(messages());
  assert.ok(report);
  assert.deepEqual([report.rows, report.createdTasks, report.refusedCount], [3n, 2n, 1n]);
  assert.deepEqual(report.refusedRows.map(({ line, key, field }) => [line, key, field]), [[4n, "3", "title"]]);
  const { tasks } = await backlogs.listTasks({ projectId });
  assert.deepEqual(tasks.map(({ title }) => title), ["Größe prüfen", "Farbe prüfen"]);
});

test("a project is exported as a stream of its bytes", async () => {
  const projectId = await newProject();
  await backlogs.createTask({ task: { projectId, title: "Größe prüfen" } });
  const pieces: Uint8Array[] = [];
  for await (const { data } of backlogs.exportProject({ projectId })) pieces.push(data);
  const exported = Buffer.concat(pieces).toString("utf8");
  assert.doesNotThrow(() => JSON.parse(exported));
  assert.match(exported, /Größe prüfen/);
});

test("changes of tasks are watched, and watched on from a token", async () => {
  const projectId = await newProject();
  const stop = new AbortController();
  const changes = backlogs.watchTasks({ projectId }, { signal: stop.signal })[Symbol.asyncIterator]();
  const first = changes.next();
  const made: string[] = [];
  const make = async (): Promise<void> => {
    const { task } = await backlogs.createTask({ task: { projectId, title: "Watched" } });
    assert.ok(task);
    made.push(task.taskId);
  };
  // Only what comes after the server took the call is watched: go on until something was seen.
  let seen: IteratorResult<WatchTasksResponse> | undefined;
  while (!seen) [seen] = await Promise.all([Promise.race([first, setTimeout(200, undefined)]), make()]);
  stop.abort();
  await make();
  assert.ok(!seen.done && seen.value.task);
  const { task, resumeToken } = seen.value;
  const missed = made.slice(made.indexOf(task.taskId) + 1);
  for await (const resumed of backlogs.watchTasks({ projectId, resumeToken })) {
    assert.equal(resumed.task?.taskId, missed.shift());
    if (missed.length === 0) break;
  }
});
