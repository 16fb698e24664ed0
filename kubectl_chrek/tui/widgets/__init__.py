"""Widgets that know no Kubernetes: they are given what they show and say what was done to them."""
