{{- /* What several templates say. Names of cluster-wide objects carry the namespace where a cluster may hold several releases. */ -}}

{{- define "chrek.labels" -}}
app.kubernetes.io/part-of: chrek
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- /* A program's image: (list . "chrek-agent"). */ -}}
{{- define "chrek.image" -}}
{{- $root := index . 0 -}}
{{- with $root.Values.image.registry }}{{ . }}/{{ end }}{{ index . 1 }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}
{{- end -}}

{{- /* Name of a program's cluster-wide object: (list . "chrek-agent"). */ -}}
{{- define "chrek.clusterName" -}}
{{- $root := index . 0 -}}
{{ index . 1 }}{{ if eq $root.Values.scope "namespace" }}-{{ $root.Release.Namespace }}{{ end }}
{{- end -}}

{{- define "chrek.webhook" -}}
{{- if and .Values.operator.webhook.enabled (eq .Values.scope "cluster") }}true{{ end -}}
{{- end -}}

{{- /* Where artifacts are, if not in a volume; empty for one. */ -}}
{{- define "chrek.storage" -}}
{{- $storage := .Values.storage -}}
{{- if ne $storage.type "pvc" -}}
{{- required (printf "storage.%s.uri must say where artifacts are kept" $storage.type) (index $storage $storage.type).uri -}}
{{- end -}}
{{- end -}}

{{- define "chrek.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Where a pod goes, from its values. */ -}}
{{- define "chrek.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}
