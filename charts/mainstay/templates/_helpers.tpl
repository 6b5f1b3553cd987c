{{- define "mainstay.name" -}}
{{- if contains "mainstay" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-mainstay" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "mainstay.selector" -}}
app.kubernetes.io/name: mainstay-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "mainstay.labels" -}}
{{ include "mainstay.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: mainstay
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "mainstay.serviceAccount" -}}
{{- if .Values.serviceAccount.name -}}
{{- .Values.serviceAccount.name -}}
{{- else if .Values.serviceAccount.create -}}
{{- include "mainstay.name" . -}}
{{- else -}}
default
{{- end -}}
{{- end -}}

{{- /* What the operator may do to clusters, wherever it looks after them. */ -}}
{{- define "mainstay.rules" -}}
- apiGroups: [mainstay.dev]
  resources: [brokerclusters]
  verbs: [get, list, watch]
- apiGroups: [mainstay.dev]
  resources: [brokerclusters/status, brokerclusters/finalizers]
  verbs: [update]
- apiGroups: [mainstay.dev]
  resources: [brokergroups]
  verbs: [get, list, create, patch]
- apiGroups: [mainstay.dev]
  resources: [brokergroups/status]
  verbs: [update]
- apiGroups: [""]
  resources: [services]
  verbs: [get, create, patch]
# Every configuration is a ConfigMap of its own. What no pod can need any more is deleted, if it is the cluster's.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, create, patch, delete]
# Makes the secrets of each cluster's internal port and administrator, and reads those that a cluster names, to refuse what
# brokers could not use. Rights cannot be narrowed down by name, since people give the names; watchNamespaces narrows them
# down by namespace. It can neither list, change nor delete secrets.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch, delete]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, patch]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, create, patch]
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [list]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, create, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
