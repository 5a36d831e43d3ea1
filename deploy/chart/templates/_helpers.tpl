{{/* What each process is: whether it talks to Kafka, and whether to somebody over HTTPS. */}}
{{- define "creditwell.facts" -}}
recorder: {kafka: true, https: true}
projector: {kafka: false, https: false}
relay: {kafka: true, https: true}
topup: {kafka: true, https: true}
refill: {kafka: false, https: false}
signer: {kafka: false, https: true}
api: {kafka: true, https: true}
resume: {kafka: true, https: true}
{{- end }}

{{/* The processes with their values; `resume --watch` is one where it is wanted. */}}
{{- define "creditwell.processes" -}}
{{- $resume := .Values.resume }}
{{- $_ := set $resume "replicas" 1 }}
{{- toYaml (ternary (merge (dict "resume" $resume) .Values.processes) .Values.processes $resume.enabled) }}
{{- end }}

{{- define "creditwell.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Labels by which pods of one process are found. Called with (dict "root" $ "name" NAME). */}}
{{- define "creditwell.selector" -}}
app.kubernetes.io/name: creditwell
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{- define "creditwell.labels" -}}
{{ include "creditwell.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{/* Environment. Called with (dict "root" $ "name" NAME "kafka" BOOL). */}}
{{- define "creditwell.environment" -}}
{{- $own := dict "CREDITWELL_SECRETS_DIR" "/run/secrets/creditwell" }}
{{- if .kafka }}
{{- $_ := set $own "CREDITWELL_KAFKA" (required "kafka.servers is empty: write the bootstrap servers of Kafka" .root.Values.kafka.servers) }}
{{- $own = mergeOverwrite $own (deepCopy .root.Values.kafka.settings) }}
{{- end }}
{{- if .root.Values.catalog.configMap }}
{{- $_ := set $own "CREDITWELL_CATALOG" "/etc/creditwell/catalog.toml" }}
{{- end }}
{{- $processes := include "creditwell.processes" .root | fromYaml }}
{{- if hasKey $processes .name }}
{{- $_ := set $own "CREDITWELL_HEALTH_HOST" "0.0.0.0" }}
{{- $_ := set $own "CREDITWELL_HEALTH_PORT" "9100" }}
{{- with .root.Values.openTelemetry.endpoint }}
{{- $_ := set $own "OTEL_EXPORTER_OTLP_ENDPOINT" . }}
{{- $own = mergeOverwrite $own (deepCopy $.root.Values.openTelemetry.settings) }}
{{- end }}
{{- end }}
{{- if eq .name "signer" }}
{{- $_ := set $own "CREDITWELL_ANCHORS" "/var/lib/creditwell/anchors" }}
{{- end }}
{{- if eq .name "api" }}
{{- $api := .root.Values.api }}
{{- $_ := set $own "CREDITWELL_API_HOST" "0.0.0.0" }}
{{- $_ := set $own "CREDITWELL_PUBLIC_URL" (required "api.publicUrl is empty: write the address at which browsers find the API" $api.publicUrl) }}
{{- $_ := set $own "CREDITWELL_JWKS" (required "api.jwks is empty: write the address of the keys that sign tokens" $api.jwks) }}
{{- $_ := set $own "CREDITWELL_JWT_ISSUER" (required "api.jwtIssuer is empty: write the iss of your tokens" $api.jwtIssuer) }}
{{- $_ := set $own "CREDITWELL_JWT_AUDIENCE" $api.jwtAudience }}
{{- if $api.proxies }}
{{- $_ := set $own "CREDITWELL_API_PROXIES" $api.proxies }}
{{- end }}
{{- end }}
{{- $process := get $processes .name | default dict }}
{{- range $variable, $value := mergeOverwrite $own (deepCopy .root.Values.settings) ($process.settings | default dict) }}
- name: {{ $variable }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end }}

{{/* What every pod has. Called as the environment. */}}
{{- define "creditwell.pod" -}}
automountServiceAccountToken: false
{{- /* Kubernetes would set CREDITWELL_API_PORT=tcp://… for the Service creditwell-api. */}}
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: tmp
    emptyDir: {}
  - name: secrets
    secret:
      secretName: {{ get .root.Values.secrets .name | required (printf "secrets.%s is empty: name a Secret" .name) }}
      defaultMode: 0440
  {{- with .root.Values.catalog.configMap }}
  - name: catalog
    configMap: {name: {{ . }}}
  {{- end }}
  {{- if eq .name "signer" }}
  - name: anchors
    persistentVolumeClaim:
      claimName: {{ .root.Values.anchors.existingClaim | default (printf "%s-anchors" .root.Release.Name) }}
  {{- end }}
{{- end }}

{{/* What every container has. */}}
{{- define "creditwell.container" -}}
name: {{ .name }}
image: {{ include "creditwell.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
env: {{ include "creditwell.environment" . | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  - {name: secrets, mountPath: /run/secrets/creditwell, readOnly: true}
  {{- if .root.Values.catalog.configMap }}
  - {name: catalog, mountPath: /etc/creditwell, readOnly: true}
  {{- end }}
  {{- if eq .name "signer" }}
  - {name: anchors, mountPath: /var/lib/creditwell/anchors}
  {{- end }}
{{- end }}
