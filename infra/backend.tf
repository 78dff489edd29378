# State lies in a bucket that scripts/00_prereq.sh makes and names at `terraform init`.
terraform {
  backend "gcs" {}
}
