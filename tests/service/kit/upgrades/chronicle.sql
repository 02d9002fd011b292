-- Written by the services themselves at revision 0001 and dumped; events and what the triggers count are left out.
INSERT INTO retrospective (retrospective_id, sprint_id, project_id, sprint_name, start_date, end_date, duration_weeks, what_went_well, what_could_be_improved, facilitator_id, attendee_ids, create_time) VALUES
	('8700cb51-c7be-4a00-a4ca-a81312f41fbf', 'DEMO-S01', 'DEMO', 'First', '2026-10-26', '2026-11-08', 2, '{"2 of 6 tasks completed (3 points)."}', '{"4 tasks (8 points) not completed: DEMO-TASK002, DEMO-TASK004, DEMO-TASK005, DEMO-TASK006.","3 tasks never begun: DEMO-TASK004, DEMO-TASK005, DEMO-TASK006.","Still open at the end: No test server (DEMO-TASK002)."}', '', '{DEMO-ANA,DEMO-BEN,DEMO-CHIARA,DEMO-DEV,DEMO-EMI}', '2026-11-22 07:23:29.26591+00');

INSERT INTO action_item (action_item_id, retrospective_id, project_id, "position", description, state, owner_id, impediment_id, update_time, version) VALUES
	('59a593c7-304a-5c30-81fd-ec3435368d70', '8700cb51-c7be-4a00-a4ca-a81312f41fbf', 'DEMO', 0, 'Remove what blocks DEMO-TASK002: No test server', 'OPEN', '', '8560f55e-8e89-4b7f-acb2-ff16a108ef9b', '2026-11-22 07:23:29.26858+00', 1),
	('9fceb5b0-3434-5d4b-b5e9-e3d3eee2ecb1', '8700cb51-c7be-4a00-a4ca-a81312f41fbf', 'DEMO', 1, 'Plan by the pace of this sprint, 0.0756 points per person-day: 11 points were planned and 3 completed.', 'OPEN', '', '', '2026-11-22 07:23:29.26858+00', 1),
	('148e7999-66ef-52e6-aa45-efc38e7291cb', '8700cb51-c7be-4a00-a4ca-a81312f41fbf', 'DEMO', 2, 'Split DEMO-TASK002 before it is planned again: of 2 points, 40 % done.', 'OPEN', 'DEMO-BEN', '', '2026-11-22 07:23:29.26858+00', 1);

INSERT INTO impediment (impediment_id, project_id, sprint_id, task_id, raised_by, owner_id, text, state, raise_date, raise_time, resolve_time, resolution) VALUES
	('8560f55e-8e89-4b7f-acb2-ff16a108ef9b', 'DEMO', 'DEMO-S01', 'DEMO-TASK002', 'DEMO-BEN', '', 'No test server', 'OPEN', '2026-10-27', '2026-11-22 07:23:11.530589+00', NULL, ''),
	('f93c489a-e00d-4608-95aa-f66e374d5005', 'DEMO', 'DEMO-S02', 'DEMO-TASK002', 'DEMO-DEV', '', 'Waiting', 'OPEN', '2026-11-17', '2026-11-22 07:23:29.3436+00', NULL, '');

INSERT INTO planning_note (note_id, sprint_id, project_id, sprint_name, sprint_goal, start_date, end_date, duration_weeks, capacity_person_days, task_count, points, create_time) VALUES
	('3ce1bba0-49c6-4163-8490-347c578a1091', 'DEMO-S01', 'DEMO', 'First', '', '2026-10-26', '2026-11-08', 2, 39.7, 6, 11, '2026-11-22 07:23:11.277029+00'),
	('392b13d0-c812-46d4-b51a-3b2989b9133b', 'DEMO-S02', 'DEMO', 'Second', '', '2026-11-16', '2026-11-29', 2, 43.2, 5, 11, '2026-11-22 07:23:29.346326+00');

INSERT INTO planned_task (note_id, "position", task_id, title, assignee_id, points) VALUES
	('3ce1bba0-49c6-4163-8490-347c578a1091', 0, 'DEMO-TASK001', 'Old task 0', 'DEMO-CHIARA', NULL),
	('3ce1bba0-49c6-4163-8490-347c578a1091', 1, 'DEMO-TASK002', 'Old task 1', 'DEMO-BEN', 2),
	('3ce1bba0-49c6-4163-8490-347c578a1091', 2, 'DEMO-TASK003', 'Old task 2', 'DEMO-DEV', 3),
	('3ce1bba0-49c6-4163-8490-347c578a1091', 3, 'DEMO-TASK004', 'Old task 3', 'DEMO-ANA', 5),
	('3ce1bba0-49c6-4163-8490-347c578a1091', 4, 'DEMO-TASK005', 'Old task 4', 'DEMO-CHIARA', 1),
	('3ce1bba0-49c6-4163-8490-347c578a1091', 5, 'DEMO-TASK006', 'Old task 5', 'DEMO-EMI', NULL),
	('392b13d0-c812-46d4-b51a-3b2989b9133b', 0, 'DEMO-TASK002', 'Old task 1', 'DEMO-DEV', 2),
	('392b13d0-c812-46d4-b51a-3b2989b9133b', 1, 'DEMO-TASK004', 'Old task 3', 'DEMO-ANA', 5),
	('392b13d0-c812-46d4-b51a-3b2989b9133b', 2, 'DEMO-TASK005', 'Old task 4', 'DEMO-EMI', 1),
	('392b13d0-c812-46d4-b51a-3b2989b9133b', 3, 'DEMO-TASK006', 'Old task 5', 'DEMO-CHIARA', NULL),
	('392b13d0-c812-46d4-b51a-3b2989b9133b', 4, 'DEMO-TASK007', 'Old task 6', 'DEMO-BEN', 3);

INSERT INTO retrospective_task (retrospective_id, "position", task_id, description, status, employee_id, progress_percent, points) VALUES
	('8700cb51-c7be-4a00-a4ca-a81312f41fbf', 0, 'DEMO-TASK001', 'Old task 0', 'COMPLETED', 'DEMO-CHIARA', 100, NULL),
	('8700cb51-c7be-4a00-a4ca-a81312f41fbf', 1, 'DEMO-TASK002', 'Old task 1', 'BLOCKED', 'DEMO-BEN', 40, 2),
	('8700cb51-c7be-4a00-a4ca-a81312f41fbf', 2, 'DEMO-TASK003', 'Old task 2', 'COMPLETED', 'DEMO-DEV', 100, 3),
	('8700cb51-c7be-4a00-a4ca-a81312f41fbf', 3, 'DEMO-TASK004', 'Old task 3', 'ASSIGNED_TO_SPRINT', 'DEMO-ANA', 0, 5),
	('8700cb51-c7be-4a00-a4ca-a81312f41fbf', 4, 'DEMO-TASK005', 'Old task 4', 'ASSIGNED_TO_SPRINT', 'DEMO-CHIARA', 0, 1),
	('8700cb51-c7be-4a00-a4ca-a81312f41fbf', 5, 'DEMO-TASK006', 'Old task 5', 'ASSIGNED_TO_SPRINT', 'DEMO-EMI', 0, NULL);

INSERT INTO scrum_report (report_id, project_id, sprint_id, report_date, summary, simulated, total_team_members, total_tasks, completed_tasks, pending_tasks, blocked_tasks, total_points, completed_points, create_time) VALUES
	('9dcb1e9a-6968-4743-94b3-53fc0a4bf9b0', 'DEMO', 'DEMO-S01', '2026-10-27', '1 of 6 tasks is completed (0 of 11 points). Since the last report there was work on 2 tasks; 1 completed. 1 impediment open.', false, 5, 6, 1, 5, 1, 11, 0, '2026-11-22 07:23:29.212107+00');

INSERT INTO scrum_person (report_id, employee_id, away) VALUES
	('9dcb1e9a-6968-4743-94b3-53fc0a4bf9b0', 'DEMO-ANA', false),
	('9dcb1e9a-6968-4743-94b3-53fc0a4bf9b0', 'DEMO-BEN', false),
	('9dcb1e9a-6968-4743-94b3-53fc0a4bf9b0', 'DEMO-CHIARA', false),
	('9dcb1e9a-6968-4743-94b3-53fc0a4bf9b0', 'DEMO-DEV', false),
	('9dcb1e9a-6968-4743-94b3-53fc0a4bf9b0', 'DEMO-EMI', false);

INSERT INTO scrum_task (report_id, employee_id, task_id, project_id, report_date, title, yesterday_work, today_work, impediments, progress_percent, create_time) VALUES
	('9dcb1e9a-6968-4743-94b3-53fc0a4bf9b0', 'DEMO-BEN', 'DEMO-TASK002', 'DEMO', '2026-10-27', 'Old task 1', 'half', 'rest', 'No test server', 40, '2026-11-22 07:23:11.530518+00'),
	('9dcb1e9a-6968-4743-94b3-53fc0a4bf9b0', 'DEMO-CHIARA', 'DEMO-TASK001', 'DEMO', '2026-10-27', 'Old task 0', 'done', '', '', 100, '2026-11-22 07:23:10.903699+00');

INSERT INTO sprint_outcome (sprint_id, project_id, sprint_name, start_date, end_date, close_time, planned_tasks, planned_points, completed_tasks, completed_points, released_tasks, released_points, added_tasks, removed_tasks, capacity_person_days, completion_rate, points_per_person_day, impediments_raised, impediments_resolved, team_size, working_days) VALUES
	('DEMO-S01', 'DEMO', 'First', '2026-10-26', '2026-11-08', '2026-11-22 07:23:29.26591+00', 6, 11, 2, 3, 4, 8, 0, 0, 39.7, 0.3333, 0.0756, 1, 0, 5, 9);
