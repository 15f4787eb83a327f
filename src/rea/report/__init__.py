"""What people read: a plan before it is signed, and a launch proposal as one HTML page or a pull request's text."""
