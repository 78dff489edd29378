provider "google" {
  project        = var.project_id
  region         = var.region
  zone           = local.zone
  default_labels = local.labels

  # Whose rights Terraform uses; no key of it exists anywhere.
  impersonate_service_account = var.deployer_service_account == "" ? null : var.deployer_service_account

  # Budgets are asked for in the name of this project when a person runs Terraform.
  billing_project       = var.project_id
  user_project_override = true
}

data "google_project" "this" {
  project_id = var.project_id
}
