"""What every study needs: jobs in processes of their own, manifests that survive anything, a plan and who runs it."""
