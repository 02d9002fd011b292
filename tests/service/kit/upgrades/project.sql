-- Written by the services themselves at revision 0001 and dumped; events and what the triggers count are left out.
INSERT INTO project (project_id, name, description, status, time_zone, holiday_country, holiday_subdivision, working_days, simulate_daily_scrums, version, create_time, update_time) VALUES
	('DEMO', 'Demo of 2026-11-22', '', 'ACTIVE', 'UTC', 'US', '', '{1,2,3,4,5}', false, 3, '2026-11-22 07:22:11.290681+00', '2026-11-22 07:22:12.179543+00');

INSERT INTO company_day (project_id, date, name) VALUES
	('DEMO', '2026-11-05', 'Company day');

INSERT INTO employee (employee_id, name, email, role, designation, skills, skill_keys, hours_per_day, inactive_time, identity_subject, time_zone, version, create_time, update_time) VALUES
	('DEMO-ANA', 'Ana Ruiz', '', 'developer', '', '{python,postgres}', '{python,postgres}', 8.00, NULL, '', '', 1, '2026-11-22 07:22:12.059579+00', '2026-11-22 07:22:12.059579+00'),
	('DEMO-DEV', 'Dev Patel', '', 'platform engineer', '', '{helm,docs}', '{helm,docs}', 8.00, NULL, '', '', 1, '2026-11-22 07:22:12.096851+00', '2026-11-22 07:22:12.096851+00'),
	('DEMO-EMI', 'Emi Sato', '', 'developer', '', '{python,docs}', '{python,docs}', 8.00, NULL, '', '', 1, '2026-11-22 07:22:12.111163+00', '2026-11-22 07:22:12.111163+00'),
	('DEMO-BEN', 'Ben Okafor', '', 'developer', '', '{grpc,nats}', '{grpc,nats}', 8.00, NULL, '', '', 2, '2026-11-22 07:22:12.079268+00', '2026-11-22 07:22:12.199766+00'),
	('DEMO-CHIARA', 'Chiara Conti', '', 'data scientist', '', '{ml,python}', '{ml,python}', 8.00, NULL, '', '', 2, '2026-11-22 07:22:12.091411+00', '2026-11-22 07:22:12.234601+00');

INSERT INTO pto (pto_id, employee_id, start_date, end_date, starts_at_midday, ends_at_midday, reason, create_time) VALUES
	('72d4d7ea-82b6-4eec-9156-efca53a7dceb', 'DEMO-BEN', '2026-10-28', '2026-10-30', false, false, 'A long weekend', '2026-11-22 07:22:12.18829+00'),
	('36a9010f-4c92-4c9c-86e7-f1e5d5b3576b', 'DEMO-CHIARA', '2026-11-03', '2026-11-03', true, false, 'Dentist', '2026-11-22 07:22:12.220822+00');

INSERT INTO team_member (project_id, employee_id, allocation_percent, start_date, end_date) VALUES
	('DEMO', 'DEMO-ANA', 100, '1970-01-01', NULL),
	('DEMO', 'DEMO-BEN', 100, '1970-01-01', NULL),
	('DEMO', 'DEMO-CHIARA', 100, '1970-01-01', NULL),
	('DEMO', 'DEMO-DEV', 100, '1970-01-01', NULL),
	('DEMO', 'DEMO-EMI', 80, '1970-01-01', NULL);
