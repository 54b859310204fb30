"""What foldlight's images are worth: cases with known truth, each arm beside the dose limit and the best flat image."""
