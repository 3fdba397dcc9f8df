"""What is behind `imagewarehouse deploy`, `status`, `stop` and `undeploy`: a NiFi, through its REST API."""
