-- Written by the services themselves at revision 0001 and dumped; events and what the triggers count are left out.
INSERT INTO project_counter (project_id, last_task, last_story, last_rank) VALUES
	('DEMO', 12, 1, 12582912);

INSERT INTO project_state (project_id, status, version) VALUES
	('DEMO', 'ACTIVE', 1);

INSERT INTO reservation (sprint_id, state, create_time) VALUES
	('DEMO-S01', 'RELEASED', '2026-11-22 07:23:10.806463+00'),
	('DEMO-S02', 'RESERVED', '2026-11-22 07:23:29.30986+00');

INSERT INTO task (task_id, project_id, number, rank, version, create_time, update_time, delete_time, title, description, type, parent_task_id, points, estimate, remaining, priority, tags, due_date, reminder_offsets, recurrence_rule, depends_on, custom_fields, origin_system, origin_key, origin_url, origin_status, origin_resolution, origin_create_time, origin_resolve_time, state, assignee_id, sprint_id, progress_percent, sprint_version, complete_time, import_digest, import_state) VALUES
	('DEMO-TASK008', 'DEMO', 8, 8388608, 1, '2026-11-22 07:23:10.491483+00', '2026-11-22 07:23:10.491483+00', NULL, 'Old task 7', 'made by the first release', 'Task', '', 5.00, NULL, NULL, 'MEDIUM', '{old,t1}', NULL, '{}', '', '{}', '{"n": "7"}', 'jira', 'OLD-7', 'http://x/7', '', '', NULL, NULL, 'UNASSIGNED', '', '', 0, 0, NULL, NULL, NULL),
	('DEMO-TASK009', 'DEMO', 9, 9437184, 1, '2026-11-22 07:23:10.513922+00', '2026-11-22 07:23:10.513922+00', NULL, 'Old task 8', 'made by the first release', 'Task', '', 1.00, NULL, NULL, 'HIGH', '{old,t2}', NULL, '{}', '', '{}', '{"n": "8"}', 'jira', 'OLD-8', 'http://x/8', '', '', NULL, NULL, 'UNASSIGNED', '', '', 0, 0, NULL, NULL, NULL),
	('DEMO-TASK010', 'DEMO', 10, 10485760, 3, '2026-11-22 07:23:10.535011+00', '2026-11-22 07:23:10.647364+00', NULL, 'Old task 9', 'made by the first release', 'Task', '', 2.00, NULL, NULL, 'URGENT', '{old,t0}', '2026-12-24', '{}', '', '{}', '{"n": "9"}', 'jira', 'OLD-9', 'http://x/9', '', '', NULL, NULL, 'COMPLETED', '', '', 100, 0, '2026-11-22 07:23:10.647364+00', NULL, NULL),
	('DEMO-TASK011', 'DEMO', 11, 11534336, 2, '2026-11-22 07:23:10.555393+00', '2026-11-22 07:23:10.676547+00', NULL, 'Old task 10', 'made by the first release', 'Task', '', NULL, NULL, NULL, 'NONE', '{old,t1}', '2026-12-24', '{}', '', '{}', '{"n": "10"}', 'jira', 'OLD-10', 'http://x/10', '', '', NULL, NULL, 'CANCELLED', '', '', 0, 0, NULL, NULL, NULL),
	('DEMO-TASK012', 'DEMO', 12, 12582912, 2, '2026-11-22 07:23:10.57018+00', '2026-11-22 07:23:10.703576+00', '2026-11-22 07:23:10.703576+00', 'Old task 11', 'made by the first release', 'Task', '', 5.00, NULL, NULL, 'LOW', '{old,t2}', NULL, '{}', '', '{DEMO-TASK001}', '{"n": "11"}', 'jira', 'OLD-11', 'http://x/11', '', '', NULL, NULL, 'UNASSIGNED', '', '', 0, 0, NULL, NULL, NULL),
	('DEMO-TASK001', 'DEMO', 1, 1048576, 6, '2026-11-22 07:23:10.310219+00', '2026-11-22 07:23:29.283581+00', NULL, 'Old task 0', 'made by the first release', 'Task', '', NULL, NULL, NULL, 'NONE', '{old,t0}', NULL, '{}', '', '{}', '{"n": "0"}', 'jira', 'OLD-0', 'http://x/0', '', '', NULL, NULL, 'COMPLETED', 'DEMO-CHIARA', '', 100, 2, '2026-11-22 07:23:10.903993+00', NULL, NULL),
	('DEMO-TASK003', 'DEMO', 3, 3145728, 6, '2026-11-22 07:23:10.392688+00', '2026-11-22 07:23:29.283581+00', NULL, 'Old task 2', 'made by the first release', 'Task', '', 3.00, NULL, NULL, 'MEDIUM', '{old,t2}', NULL, '{}', '', '{}', '{"n": "2"}', 'jira', 'OLD-2', 'http://x/2', '', '', NULL, NULL, 'COMPLETED', 'DEMO-DEV', '', 100, 2, '2026-11-22 07:23:29.22711+00', NULL, NULL),
	('DEMO-TASK004', 'DEMO', 4, 4194304, 6, '2026-11-22 07:23:10.413749+00', '2026-11-22 07:23:29.344358+00', NULL, 'Old task 3', 'made by the first release', 'Task', '', 5.00, NULL, NULL, 'HIGH', '{old,t0}', NULL, '{}', '', '{}', '{"n": "3"}', 'jira', 'OLD-3', 'http://x/3', '', '', NULL, NULL, 'ASSIGNED_TO_SPRINT', 'DEMO-ANA', 'DEMO-S02', 0, 3, NULL, NULL, NULL),
	('DEMO-TASK005', 'DEMO', 5, 5242880, 6, '2026-11-22 07:23:10.435924+00', '2026-11-22 07:23:29.344358+00', NULL, 'Old task 4', 'made by the first release', 'Task', '', 1.00, NULL, NULL, 'URGENT', '{old,t1}', NULL, '{}', '', '{}', '{"n": "4"}', 'jira', 'OLD-4', 'http://x/4', '', '', NULL, NULL, 'ASSIGNED_TO_SPRINT', 'DEMO-EMI', 'DEMO-S02', 0, 3, NULL, NULL, NULL),
	('DEMO-TASK006', 'DEMO', 6, 6291456, 6, '2026-11-22 07:23:10.45546+00', '2026-11-22 07:23:29.344358+00', NULL, 'Old task 5', 'made by the first release', 'Task', '', NULL, NULL, NULL, 'NONE', '{old,t2}', NULL, '{}', '', '{}', '{"n": "5"}', 'jira', 'OLD-5', 'http://x/5', '', '', NULL, NULL, 'ASSIGNED_TO_SPRINT', 'DEMO-CHIARA', 'DEMO-S02', 0, 3, NULL, NULL, NULL),
	('DEMO-TASK002', 'DEMO', 2, 2097152, 8, '2026-11-22 07:23:10.35667+00', '2026-11-22 07:23:29.368047+00', NULL, 'Old task 1', 'made by the first release', 'Task', '', 2.00, NULL, NULL, 'LOW', '{old,t1}', NULL, '{}', '', '{}', '{"n": "1"}', 'jira', 'OLD-1', 'http://x/1', '', '', NULL, NULL, 'BLOCKED', 'DEMO-DEV', 'DEMO-S02', 60, 7, NULL, NULL, NULL),
	('DEMO-TASK007', 'DEMO', 7, 7340032, 3, '2026-11-22 07:23:10.475018+00', '2026-11-22 07:23:29.344358+00', NULL, 'Old task 6', 'made by the first release', 'Task', '', 3.00, NULL, NULL, 'LOW', '{old,t0}', NULL, '{}', '', '{}', '{"n": "6"}', 'jira', 'OLD-6', 'http://x/6', '', '', NULL, NULL, 'ASSIGNED_TO_SPRINT', 'DEMO-BEN', 'DEMO-S02', 0, 1, NULL, NULL, NULL);

INSERT INTO reserved_task (sprint_id, task_id, assignee_id, progress_percent) VALUES
	('DEMO-S01', 'DEMO-TASK001', '', 0),
	('DEMO-S01', 'DEMO-TASK003', '', 0),
	('DEMO-S02', 'DEMO-TASK002', '', 0),
	('DEMO-S02', 'DEMO-TASK004', '', 0),
	('DEMO-S02', 'DEMO-TASK005', '', 0),
	('DEMO-S02', 'DEMO-TASK006', '', 0),
	('DEMO-S02', 'DEMO-TASK007', '', 0);

INSERT INTO story (story_id, project_id, number, version, create_time, update_time, title, description, origin_system, origin_key, origin_url, origin_status, origin_resolution, origin_create_time, origin_resolve_time) VALUES
	('DEMO-STORY001', 'DEMO', 1, 2, '2026-11-22 07:23:10.592454+00', '2026-11-22 07:23:10.625144+00', 'Old story', '', 'jira', 'OLD-E1', '', '', '', NULL, NULL);

INSERT INTO story_task (story_id, task_id) VALUES
	('DEMO-STORY001', 'DEMO-TASK001'),
	('DEMO-STORY001', 'DEMO-TASK002'),
	('DEMO-STORY001', 'DEMO-TASK003');
