{{- define "sigrun.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "sigrun.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" }}
{{- else if contains (include "sigrun.name" .) .Release.Name }}
{{- .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "sigrun.name" .) | trunc 53 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "sigrun.selectorLabels" -}}
app.kubernetes.io/name: {{ include "sigrun.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sigrun.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "sigrun.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "sigrun.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "sigrun.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* The scheme of probes and metrics. */ -}}
{{- define "sigrun.scheme" -}}
{{- ternary "HTTPS" "HTTP" (ne .Values.tls.secretName "") }}
{{- end }}

{{- /* What a probe asks: PATH, or whether the port is open where clients must show a certificate. */ -}}
{{- define "sigrun.probe" -}}
{{- if and .root.Values.tls.secretName .root.Values.tls.verifiesClients }}
tcpSocket:
  port: {{ ternary "grpc" "http" .ready }}
{{- else }}
httpGet:
  path: {{ ternary "/readyz" "/livez" .ready }}
  port: http
  scheme: {{ include "sigrun.scheme" .root }}
{{- end }}
{{- end }}

{{- /* A URI has no volume behind it, and a path needs one: say so before a pod waits in vain. */ -}}
{{- define "sigrun.checkStorage" -}}
{{- with .Values.modelStorage }}
{{- $kinds := 0 }}
{{- if .existingClaim }}{{ $kinds = add1 $kinds }}{{ end }}
{{- if .volume }}{{ $kinds = add1 $kinds }}{{ end }}
{{- if .objectStore.enabled }}{{ $kinds = add1 $kinds }}{{ end }}
{{- if ne (int $kinds) 1 }}
{{- fail (printf "modelStorage takes exactly one of existingClaim, volume and objectStore.enabled; %d are set" (int $kinds)) }}
{{- end }}
{{- end }}
{{- end }}
