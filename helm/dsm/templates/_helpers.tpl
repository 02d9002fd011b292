{{/* Names, labels and the pieces that several kinds share. */}}

{{- define "dsm.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $release := .Release.Name | replace "." "-" -}}
{{- $full := ternary $release (printf "%s-%s" $release $name) (contains $name $release) -}}
{{- /* Room for -orchestrator and -postgresql-0 within the 63 characters of a name. */ -}}
{{- default $full .Values.fullnameOverride | trunc 46 | trimSuffix "-" -}}
{{- end }}

{{- define "dsm.services" -}}
project backlog sprint chronicle orchestrator embedding
{{- end }}

{{- define "dsm.stateful" -}}
project backlog sprint chronicle orchestrator
{{- end }}

{{- /* Whom each component calls; a NetworkPolicy lets nobody else in. */ -}}
{{- define "dsm.calls" -}}
project: []
backlog: [project]
sprint: [project, backlog]
chronicle: [embedding]
orchestrator: [project, backlog, sprint, chronicle, embedding]
embedding: []
{{- if eq .Values.schedules.runner "KUBERNETES" }}
daily-scrum: [sprint]
{{- end }}
{{- if .Values.jobs.planning }}
planning: [sprint]
{{- end }}
{{- if .Values.jobs.seed.enabled }}
seed: [project, backlog]
{{- end }}
test: [project, backlog, sprint, chronicle, orchestrator, embedding]
{{- end }}

{{- /* What selects the pods of a component. Call with (list $ component). */ -}}
{{- define "dsm.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: dsm
app.kubernetes.io/instance: {{ $root.Release.Name | replace "." "-" }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "dsm.labels" -}}
{{- $root := index . 0 -}}
{{ include "dsm.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end }}

{{- /* What a service's pods are like: `defaults`, and what the service says. Call with (list $ service). */ -}}
{{- define "dsm.values" -}}
{{- $root := index . 0 -}}
{{- $own := index $root.Values.services (index . 1) | default dict -}}
{{- mergeOverwrite (deepCopy $root.Values.defaults) (deepCopy $own) | toYaml -}}
{{- end }}

{{- define "dsm.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{- end -}}
{{- end -}}
{{- end }}

{{- define "dsm.imagePullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "dsm.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "dsm.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* Environment for the database of a service. Call with (list $ service). */ -}}
{{- define "dsm.databaseEnv" -}}
{{- $root := index . 0 -}}
{{- $service := index . 1 -}}
{{- $variable := printf "DSM_%s_DATABASE_URL" (upper $service) -}}
{{- with $root.Values.postgresql -}}
{{- if $root.Values.evaluation.enabled }}
- name: {{ $variable }}
  value: postgresql://postgres@{{ include "dsm.fullname" $root }}-postgresql:5432/dsm_{{ $service }}
- name: PGPASSWORD
  valueFrom:
    secretKeyRef: {name: {{ include "dsm.fullname" $root }}-postgresql, key: password}
{{- else if .urlSecret.name }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef:
      name: {{ .urlSecret.name | replace "{service}" $service }}
      key: {{ .urlSecret.key | replace "{service}" $service }}
{{- else }}
- name: {{ $variable }}
  value: {{ .url | replace "{service}" $service | quote }}
{{- if .passwordSecret.name }}
# libpq reads it, so that no URL holds it.
- name: PGPASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ .passwordSecret.name | replace "{service}" $service }}
      key: {{ .passwordSecret.key | replace "{service}" $service }}
{{- end }}
{{- end }}
{{- if and .caSecret.name (not $root.Values.evaluation.enabled) }}
- name: PGSSLMODE
  value: verify-full
- name: PGSSLROOTCERT
  value: /etc/dsm/postgresql/ca.crt
{{- end }}
{{- end }}
{{- end }}

{{- define "dsm.natsEnv" -}}
{{- with .Values.nats -}}
{{- if $.Values.evaluation.enabled }}
- name: DSM_NATS_URL
  value: nats://{{ include "dsm.fullname" $ }}-nats:4222
{{- else if .urlSecret.name }}
- name: DSM_NATS_URL
  valueFrom:
    secretKeyRef: {name: {{ .urlSecret.name }}, key: {{ .urlSecret.key }}}
{{- else }}
- name: DSM_NATS_URL
  value: {{ .url | quote }}
{{- end }}
{{- if and .caSecret.name (not $.Values.evaluation.enabled) }}
- name: SSL_CERT_FILE
  value: /etc/dsm/nats/ca.crt
{{- end }}
{{- end }}
{{- end }}

{{- /* Where the services listen, as they and the commands of `dsm` find each other. */ -}}
{{- define "dsm.addressEnv" -}}
{{- range splitList " " (include "dsm.services" .) }}
- name: DSM_{{ upper . }}_ADDRESS
  value: {{ include "dsm.fullname" $ }}-{{ . }}:7600
{{- end }}
{{- end }}

{{- /* Volumes with the authorities' certificates. Call with (list $ "postgresql" "nats"). */ -}}
{{- define "dsm.caVolumes" -}}
{{- $root := first . -}}
{{- range rest . }}
{{- $secret := (index $root.Values .).caSecret -}}
{{- if and $secret.name (not $root.Values.evaluation.enabled) }}
- name: {{ . }}-ca
  secret:
    secretName: {{ $secret.name }}
    items: [{key: {{ $secret.key }}, path: ca.crt}]
{{- end }}
{{- end }}
{{- end }}

{{- define "dsm.caMounts" -}}
{{- $root := first . -}}
{{- range rest . }}
{{- $secret := (index $root.Values .).caSecret -}}
{{- if and $secret.name (not $root.Values.evaluation.enabled) }}
- {name: {{ . }}-ca, mountPath: /etc/dsm/{{ . }}, readOnly: true}
{{- end }}
{{- end }}
{{- end }}

{{- /* A container that brings the database of one service up. Call with (list $ service). */ -}}
{{- define "dsm.migrateContainer" -}}
{{- $root := index . 0 -}}
{{- $service := index . 1 -}}
image: {{ include "dsm.image" $root }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
args: [migrate, --service, {{ $service }}]
env:
  {{- include "dsm.databaseEnv" . | trim | nindent 2 }}
resources:
  {{- toYaml $root.Values.migrate.resources | nindent 2 }}
securityContext:
  {{- include "dsm.securityContext" $root | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- include "dsm.caMounts" (list $root "postgresql") | nindent 2 }}
{{- end }}

{{- /* The pod of a job that calls the API. Call with (list $ component arguments). */ -}}
{{- define "dsm.jobPod" -}}
{{- $root := index . 0 -}}
metadata:
  labels:
    {{- include "dsm.labels" (list $root (index . 1)) | nindent 4 }}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- include "dsm.imagePullSecrets" $root | trim | nindent 2 }}
  securityContext:
    {{- include "dsm.podSecurityContext" $root | nindent 4 }}
  containers:
    - name: {{ index . 1 }}
      image: {{ include "dsm.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args:
        {{- toYaml (index . 2) | nindent 8 }}
      env:
        {{- include "dsm.addressEnv" $root | trim | nindent 8 }}
      resources:
        {{- toYaml $root.Values.jobs.resources | nindent 8 }}
      securityContext:
        {{- include "dsm.securityContext" $root | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
  volumes:
    - {name: tmp, emptyDir: {}}
{{- end }}

{{- /* The settings of a service that are no secret. Call with (list $ service). */ -}}
{{- define "dsm.config" -}}
{{- $root := index . 0 -}}
{{- $service := index . 1 -}}
{{- $own := (index $root.Values.services $service | default dict).settings | default dict -}}
{{- $settings := mergeOverwrite (deepCopy ($root.Values.settings | default dict)) (deepCopy $own) -}}
DSM_HOST: 0.0.0.0
DSM_PORT: "7600"
DSM_METRICS_PORT: "7690"
DSM_GRACE_SECONDS: {{ $root.Values.shutdown.graceSeconds | quote }}
DSM_MAX_CONNECTION_AGE_SECONDS: {{ $root.Values.service.maxConnectionAgeSeconds | quote }}
{{- range splitList " " (include "dsm.services" $root) }}
DSM_{{ upper . }}_ADDRESS: {{ include "dsm.fullname" $root }}-{{ . }}:7600
{{- end }}
{{- if and (eq $service "orchestrator") (eq $root.Values.schedules.runner "KUBERNETES") }}
DSM_SCHEDULE_RUNNER: KUBERNETES
DSM_KUBERNETES_NAMESPACE: {{ $root.Release.Namespace }}
DSM_CRON_JOB_IMAGE: {{ include "dsm.image" $root }}
DSM_CRON_JOB_PULL_POLICY: {{ $root.Values.image.pullPolicy }}
DSM_CRON_JOB_INSTANCE: {{ $root.Release.Name | replace "." "-" }}
DSM_CRON_JOB_SERVICE_ACCOUNT: {{ include "dsm.fullname" $root }}-daily-scrum
DSM_CRON_JOB_CPU: {{ $root.Values.schedules.cpu | quote }}
DSM_CRON_JOB_MEMORY: {{ $root.Values.schedules.memory | quote }}
{{- end }}
{{- range $name, $value := $settings }}
{{- /* Numbers come as floats, and large ones would be written as 1e+06. */}}
DSM_{{ upper $name }}: {{ (kindIs "float64" $value | ternary (toJson $value) (toString $value)) | quote }}
{{- end }}
{{- end }}
