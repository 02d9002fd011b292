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
{{- if .Values.jobs.backfill.enabled }}
backfill: [orchestrator]
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

{{- define "dsm.accountAnnotations" -}}
{{- with .Values.serviceAccount.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Where pods may run: the services' by their own values, what belongs to no service by `defaults`. */ -}}
{{- define "dsm.scheduling" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
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
{{- if not $root.Values.evaluation.enabled }}
{{- with .sslMode | default (ternary "verify-full" "" (not (empty .caSecret.name))) }}
- name: PGSSLMODE
  value: {{ . }}
{{- end }}
{{- if .caSecret.name }}
- name: PGSSLROOTCERT
  value: /etc/dsm/postgresql/ca.crt
{{- end }}
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
{{- end }}
{{- end }}

{{- /* Where the services listen, as they and the commands of `dsm` find each other. */ -}}
{{- define "dsm.addressEnv" -}}
{{- range splitList " " (include "dsm.services" .) }}
- name: DSM_{{ upper . }}_ADDRESS
  value: {{ include "dsm.fullname" $ }}-{{ . }}:7600
{{- end }}
{{- end }}

{{- /*
What is mounted, as [{from, secret, items}] of each folder of /etc/dsm: certificates, keys and tokens, by reference.
Call with (list $ component); components are the services, the jobs, and migrate.
*/ -}}
{{- define "dsm.mounted" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $service := has $component (splitList " " (include "dsm.services" $root)) -}}
{{- $stateful := has $component (splitList " " (include "dsm.stateful" $root)) -}}
{{- $any := ternary $component "project" $service -}}
{{- with $root.Values -}}
{{- $outside := not .evaluation.enabled -}}
{{- if and $outside (or $stateful (eq $component "migrate")) .postgresql.caSecret.name }}
postgresql:
  - {secret: {name: {{ .postgresql.caSecret.name }}, items: [{key: {{ .postgresql.caSecret.key }}, path: ca.crt}]}}
{{- end }}
{{- if and $outside $stateful (or .nats.caSecret.name .nats.clientSecret.name .nats.credentialsSecret.name) }}
nats:
  {{- with .nats.caSecret }}{{ if .name }}
  - {secret: {name: {{ .name }}, items: [{key: {{ .key }}, path: ca.crt}]}}
  {{- end }}{{ end }}
  {{- with .nats.clientSecret }}{{ if .name }}
  - {secret: {name: {{ .name }}, items: [{key: {{ .certKey }}, path: client.crt}, {key: {{ .keyKey }}, path: client.key}]}}
  {{- end }}{{ end }}
  {{- with .nats.credentialsSecret }}{{ if .name }}
  - {secret: {name: {{ .name }}, items: [{key: {{ .key }}, path: user.creds}]}}
  {{- end }}{{ end }}
{{- end }}
{{- if and .tls.serverSecret.name (ne $component "migrate") }}
tls:
  {{- if $service }}
  - secret:
      name: {{ .tls.serverSecret.name | replace "{service}" $component }}
      items: [{key: {{ .tls.serverSecret.certKey }}, path: server.crt}, {key: {{ .tls.serverSecret.keyKey }}, path: server.key}]
  {{- end }}
  - {secret: {name: {{ .tls.caSecret.name | default .tls.serverSecret.name | replace "{service}" $any }}, items: [{key: {{ .tls.caSecret.key }}, path: ca.crt}]}}
  {{- if and $service .tls.clientCaSecret.name }}
  - {secret: {name: {{ .tls.clientCaSecret.name }}, items: [{key: {{ .tls.clientCaSecret.key }}, path: client-ca.crt}]}}
  {{- end }}
  {{- with .tls.clientSecret }}{{ if .name }}
  - {secret: {name: {{ .name }}, items: [{key: {{ .certKey }}, path: client.crt}, {key: {{ .keyKey }}, path: client.key}]}}
  {{- end }}{{ end }}
{{- end }}
{{- if and $service (include "dsm.identity" $root) }}
identity:
  {{- with .identity.jwtSecret }}{{ if .name }}
  - {secret: {name: {{ .name }}, items: [{key: {{ .key }}, path: jwt-secret}]}}
  {{- end }}{{ end }}
  {{- with .identity.jwks }}{{ if .configMap }}
  - {configMap: {name: {{ .configMap }}, items: [{key: {{ .key }}, path: jwks.json}]}}
  {{- end }}{{ end }}
  {{- with .identity.serviceTokenSecret }}{{ if .name }}
  - {secret: {name: {{ .name | replace "{service}" $component }}, items: [{key: {{ .key | replace "{service}" $component }}, path: token}]}}
  {{- end }}{{ end }}
{{- else if and (not $service) (ne $component "migrate") .jobs.tokenSecret.name }}
identity:
  {{- with .jobs.tokenSecret }}
  - {secret: {name: {{ .name | replace "{job}" $component }}, items: [{key: {{ .key | replace "{job}" $component }}, path: token}]}}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Whether callers are identified; empty = no. */ -}}
{{- define "dsm.identity" -}}
{{- with .Values.identity }}{{ or .jwtSecret.name .jwks.url .jwks.configMap }}{{ end -}}
{{- end }}

{{- /* The volumes and mounts of what "dsm.mounted" tells. Call with (list $ component). */ -}}
{{- define "dsm.volumes" -}}
{{- range $folder, $sources := include "dsm.mounted" . | fromYaml }}
- name: {{ $folder }}
  projected:
    # 0440: for the group of the pod.
    defaultMode: 288
    sources:
      {{- toYaml $sources | nindent 6 }}
{{- end }}
{{- end }}

{{- define "dsm.mounts" -}}
{{- range $folder, $_ := include "dsm.mounted" . | fromYaml }}
- {name: {{ $folder }}, mountPath: /etc/dsm/{{ $folder }}, readOnly: true}
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
  {{- with (include "dsm.values" . | fromYaml).extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
resources:
  {{- toYaml $root.Values.migrate.resources | nindent 2 }}
securityContext:
  {{- include "dsm.securityContext" $root | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- with include "dsm.mounts" (list $root "migrate") | trim }}{{ nindent 2 . }}{{ end }}
{{- end }}

{{- /* The spec of the pod of a job that calls the API. Call with (list $ component arguments). */ -}}
{{- define "dsm.jobSpec" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
restartPolicy: Never
automountServiceAccountToken: false
enableServiceLinks: false
{{- include "dsm.imagePullSecrets" $root }}
{{- include "dsm.scheduling" $root.Values.defaults }}
securityContext:
  {{- include "dsm.podSecurityContext" $root | nindent 2 }}
containers:
  - name: {{ $component }}
    image: {{ include "dsm.image" $root }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    args:
      {{- toYaml (index . 2) | nindent 6 }}
    env:
      {{- include "dsm.addressEnv" $root | trim | nindent 6 }}
      {{- with $root.Values.tls }}
      {{- if .serverSecret.name }}
      - name: DSM_TLS_CA
        value: /etc/dsm/tls/ca.crt
      {{- if .clientSecret.name }}
      - name: DSM_TLS_CERT
        value: /etc/dsm/tls/client.crt
      - name: DSM_TLS_KEY
        value: /etc/dsm/tls/client.key
      {{- end }}
      {{- end }}
      {{- end }}
      {{- if $root.Values.jobs.tokenSecret.name }}
      - name: DSM_TOKEN_FILE
        value: /etc/dsm/identity/token
      {{- end }}
      {{- with $root.Values.defaults.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    resources:
      {{- toYaml $root.Values.jobs.resources | nindent 6 }}
    securityContext:
      {{- include "dsm.securityContext" $root | nindent 6 }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      {{- with include "dsm.mounts" . | trim }}{{ nindent 6 . }}{{ end }}
volumes:
  - {name: tmp, emptyDir: {}}
  {{- with include "dsm.volumes" . | trim }}{{ nindent 2 . }}{{ end }}
{{- end }}

{{- define "dsm.jobPod" -}}
metadata:
  labels:
    {{- include "dsm.labels" . | nindent 4 }}
spec:
  {{- include "dsm.jobSpec" . | nindent 2 }}
{{- end }}

{{- /* The spec of the pods of daily scrums; the orchestrator sets their arguments. */ -}}
{{- define "dsm.scrumSpec" -}}
{{- $spec := include "dsm.jobSpec" (list . "daily-scrum" (list "--help")) | fromYaml }}
{{- $_ := set $spec "serviceAccountName" (printf "%s-daily-scrum" (include "dsm.fullname" .)) }}
{{- with .Values.schedules }}
{{- $resources := dict "requests" (dict "cpu" .cpu "memory" .memory) "limits" (dict "memory" .memory) }}
{{- $_ := set (first $spec.containers) "resources" $resources }}
{{- end }}
{{- toPrettyJson $spec }}
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
DSM_CRON_JOB_INSTANCE: {{ $root.Release.Name | replace "." "-" }}
DSM_CRON_JOB_SERVICE_ACCOUNT: {{ include "dsm.fullname" $root }}-daily-scrum
DSM_CRON_JOB_POD_FILE: /etc/dsm/cron-job/pod.json
{{- end }}
{{- include "dsm.protection" . }}
{{- with $root.Values.tracing }}
{{- if .otlpEndpoint }}
DSM_OTLP_ENDPOINT: {{ .otlpEndpoint }}
DSM_TRACE_SAMPLE_RATIO: {{ .sampleRatio | quote }}
{{- end }}
{{- end }}
{{- range $name, $value := $settings }}
{{- /* Numbers come as floats, and large ones would be written as 1e+06. */}}
DSM_{{ upper $name }}: {{ (kindIs "float64" $value | ternary (toJson $value) (toString $value)) | quote }}
{{- end }}
{{- end }}

{{- /* TLS, identity and NATS of a service: places of files, and what is no secret. Call with (list $ service). */ -}}
{{- define "dsm.protection" -}}
{{- $root := index . 0 -}}
{{- $stateful := has (index . 1) (splitList " " (include "dsm.stateful" $root)) -}}
{{- with $root.Values.tls }}
{{- if .serverSecret.name }}
DSM_TLS_CERT_FILE: /etc/dsm/tls/server.crt
DSM_TLS_KEY_FILE: /etc/dsm/tls/server.key
DSM_CLIENT_CA_FILE: /etc/dsm/tls/ca.crt
{{- if .clientCaSecret.name }}
DSM_TLS_CLIENT_CA_FILE: /etc/dsm/tls/client-ca.crt
{{- end }}
{{- if .clientSecret.name }}
DSM_CLIENT_CERT_FILE: /etc/dsm/tls/client.crt
DSM_CLIENT_KEY_FILE: /etc/dsm/tls/client.key
{{- end }}
{{- end }}
{{- end }}
{{- if include "dsm.identity" $root }}
{{- with $root.Values.identity }}
{{- if .jwtSecret.name }}
DSM_JWT_SECRET_FILE: /etc/dsm/identity/jwt-secret
{{- end }}
{{- if .jwks.configMap }}
DSM_JWT_JWKS: /etc/dsm/identity/jwks.json
{{- else if .jwks.url }}
DSM_JWT_JWKS: {{ .jwks.url | quote }}
{{- end }}
{{- with .issuer }}
DSM_JWT_ISSUER: {{ . | quote }}
{{- end }}
DSM_JWT_AUDIENCE: {{ .audience | quote }}
{{- if .serviceTokenSecret.name }}
DSM_SERVICE_TOKEN_FILE: /etc/dsm/identity/token
{{- end }}
{{- end }}
{{- end }}
{{- with $root.Values.rateLimit }}
{{- if .perSecond }}
DSM_RATE_LIMIT_PER_SECOND: {{ .perSecond | quote }}
DSM_RATE_LIMIT_BURST: {{ .burst | quote }}
{{- end }}
{{- end }}
{{- if and $stateful (not $root.Values.evaluation.enabled) }}
{{- with $root.Values.nats }}
{{- if .caSecret.name }}
DSM_NATS_CA_FILE: /etc/dsm/nats/ca.crt
{{- end }}
{{- if .clientSecret.name }}
DSM_NATS_CERT_FILE: /etc/dsm/nats/client.crt
DSM_NATS_KEY_FILE: /etc/dsm/nats/client.key
{{- end }}
{{- if .credentialsSecret.name }}
DSM_NATS_CREDENTIALS_FILE: /etc/dsm/nats/user.creds
{{- end }}
{{- end }}
{{- end }}
{{- end }}
